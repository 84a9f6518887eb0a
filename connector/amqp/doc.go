// Package amqp is the sink that sends messages to a node of an AMQP 1.0 broker: a
// queue or topic of Azure Service Bus, an event hub, or a queue of any broker
// that speaks the standard.
//
// Messages look as readers of the Event Hubs-compatible endpoint see them. A
// batch is sent without waiting between its messages, and counts as sent when
// the broker has accepted each.
package amqp
