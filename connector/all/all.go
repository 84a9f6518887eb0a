// Package all is the list of the connectors that are in the program.
package all

import (
	"github.com/causeway-iot/causeway/connector/amqp"
	"github.com/causeway-iot/causeway/connector/kafka"
	"github.com/causeway-iot/causeway/connector/mqtt"
	"github.com/causeway-iot/causeway/connector/storage"
	"github.com/causeway-iot/causeway/connector/webhook"
	"github.com/causeway-iot/causeway/plugin"
)

// Sinks returns the kinds of sinks.
func Sinks() *plugin.Registry {
	r := &plugin.Registry{}
	plugin.AddSink(r, "webhook", "Posts messages over HTTP: as JSON, as CloudEvents, or as Event Grid events", webhook.New)
	plugin.AddSink(r, "storageContainer", "Writes messages to files of a container of the blob store, as Avro or lines of JSON", storage.New)
	plugin.AddSink(r, "serviceBusQueue", "Sends messages to a queue of Azure Service Bus", amqp.New)
	plugin.AddSink(r, "serviceBusTopic", "Sends messages to a topic of Azure Service Bus", amqp.New)
	plugin.AddSink(r, "externalEventHub", "Sends messages to an event hub of another server, such as Azure Event Hubs", amqp.NewEventHub)
	plugin.AddSink(r, "amqp", "Sends messages to a queue, topic or other node of an AMQP 1.0 broker", amqp.New)
	plugin.AddSink(r, "mqtt", "Publishes messages to an MQTT broker", mqtt.New)
	plugin.AddSink(r, "kafka", "Produces messages to a topic of Apache Kafka, or of what speaks its protocol", kafka.New)
	return r
}
