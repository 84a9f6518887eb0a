// Package routing decides where the messages of a hub go: by its routes, the
// fallback route and the enrichments of messages on their way.
//
// It knows conditions and names of endpoints. What an endpoint does with a
// message, and when it is delivered, is the business of whoever implements
// [Endpoint]; the built-in endpoint [Events] is the event log of the hub.
package routing
