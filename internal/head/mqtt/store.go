package mqtt

import (
	"context"

	"github.com/causeway-iot/causeway"
)

// Filter is one granted subscription of a persistent session.
type Filter struct {
	Topic string // the topic filter as the client wrote it
	QoS   byte   // granted: 0 or 1
}

// SessionStore keeps the subscriptions of persistent sessions (clean session
// 0) across connections and restarts. Methods return when their effect is
// durable and are safe for concurrent use; different identities never share a
// session.
type SessionStore interface {
	// Load returns the filters of the session of id in the order they were
	// saved; ok is false when there is no session. A session without filters
	// is a session.
	Load(ctx context.Context, id causeway.Identity) (filters []Filter, ok bool, err error)
	// Save creates or replaces the session of id. It may not keep filters.
	Save(ctx context.Context, id causeway.Identity, filters []Filter) error
	// Drop deletes the session of id, if there is one.
	Drop(ctx context.Context, id causeway.Identity) error
}
