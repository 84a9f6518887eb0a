package routing

import (
	"context"

	"github.com/causeway-iot/causeway"
)

// Events is the name of the built-in endpoint: the event log of the hub.
const Events = "events"

// Endpoint takes messages that routes chose for it.
type Endpoint interface {
	// Append takes messages, in order, and returns when they are durable: from
	// then on it is the endpoint's business to deliver them. It borrows msgs
	// and all they point to until it returns. The messages are stamped and
	// enriched; From.Hub is set.
	//
	// Senders wait for it, so that it must be about as fast as the event log.
	// An endpoint that is full or broken puts messages where dead letters go
	// and returns nil; an error means that nothing was kept, and is the
	// sender's.
	Append(ctx context.Context, msgs ...causeway.Message) error
}

// Endpoints finds the custom endpoints of hubs.
type Endpoints interface {
	// Endpoint returns the endpoint of that name. It is asked when the routes
	// of a hub are made or changed, after the hub's settings are durable, and
	// the endpoint is used until the next change.
	Endpoint(hub, name string) (Endpoint, bool)
}

// Publisher takes events that the hub itself makes, such as those about jobs
// and digital twins, and routes them.
type Publisher interface {
	// Publish routes an event by its Source, and returns when it is durable
	// wherever routes say. Without a route for it the event is dropped, and the
	// result is nil. From, Source, Schema, content type, body and properties
	// are the caller's; Enqueued, UserID and CorrelationID are filled in when
	// they are empty. It borrows m.
	Publish(ctx context.Context, hub string, m causeway.Message) error
}
