// Package causeway holds the words of the platform: the types that a protocol
// head and the platform behind it exchange, the contract between them, the
// catalogue of errors and the limits. It has no behaviour beyond what a value
// needs to describe itself.
//
// # The contract
//
// A protocol head (MQTT, AMQP, HTTP) knows one interface, [Hub]. It hands the
// Hub a [Credential] and a [Device], and gets a [Session]. The Session is what
// the client may ask of the platform; the Device is what the platform may ask
// of the client. The cloud, an edge gateway and a remote parent each implement
// Hub, so a gateway is a Hub to its children and a Device to its parent.
//
//	client ──wire──▶ head ──Session──▶ hub
//	client ◀──wire── head ◀──Device─── hub
//
// # Durability
//
// A Session method that returns nil has made its effect durable: the record is
// on stable storage, not in a buffer. Heads acknowledge only after that.
//
// # Errors
//
// Errors that cross the contract are [*Error] values or wrap one; [CodeOf]
// extracts the [Code], and each head has one table that maps codes to its
// protocol. Error.Msg may be shown to a client, Error.Err never is.
package causeway
