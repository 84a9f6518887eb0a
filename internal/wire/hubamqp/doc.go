// Package hubamqp is IoT Hub's use of AMQP 1.0, in both directions: the
// addresses of links, what is in the messages on them, the properties of links,
// error conditions, and the filters of the Event Hubs-compatible endpoint. It is
// to AMQP what package topic is to MQTT.
//
// It knows bytes and values only. Connections, links, settlement and who is
// authorized are other packages' matters.
//
// # Borrowed memory
//
// Functions named Decode point into the payload they are given, and, where text
// is not in the payload as it is needed (an id that is a uuid, a body of several
// sections), into the [Scratch]. Both must stay unchanged for as long as the
// result is used. Functions named Append append a whole message to dst and do
// not allocate when there is room for it, except where they say so.
//
// Errors are [*causeway.Error]s: their messages may be shown to the peer.
package hubamqp

// Limits of what is accepted.
const (
	MaxAddress    = 2048      // bytes of a link address or of the "to" of a command
	MaxAudience   = 4 << 10   // bytes of the name of a put-token request
	MaxToken      = 16 << 10  // bytes of a token
	MaxEcho       = 1 << 10   // bytes of an id that the answer to a request repeats
	MaxProperties = 512       // application properties of one message
	MaxBatch      = 1 << 14   // messages in one batch transfer
	MaxTransfer   = 1 << 20   // bytes of one transfer; what telemetry links advertise
	maxEncoded    = 384 << 10 // bytes of one message of a batch; its content is bounded by causeway.MaxMessageSize
	maxSelector   = 512       // bytes of a selector filter
	maxLinkText   = 1024      // bytes of one text among the properties of a link
)
