// Package endpoint is the custom endpoints of a hub: from the settings of its
// routing come queues with sinks behind them, and event hubs of its own.
//
// It knows which endpoints there are and when one is made, changed or removed.
// Where messages go is the business of routes, how they are delivered that of
// package delivery, and how an endpoint is spoken to that of its sink.
package endpoint
