// Package claims is what the peer of an AMQP connection has proven about
// itself, as those who serve its links see it: one head accepts connections and
// tokens, and others serve families of addresses on them.
//
// It knows rights, paths and links. It does not know how a proof was given.
package claims

import (
	"time"

	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// Link is a link that ends with the claim that it was attached by. Close must
// not block.
type Link interface {
	Close(cond *codec.Condition)
}

// Peer is one connection with what it has proven. It is safe for concurrent
// use.
type Peer interface {
	// Hub returns the canonical name of the hub that the connection is for, and
	// Host the name by which the client asked for it, without a port.
	Hub() string
	Host() string
	Conn() *amqp.Conn

	// Authorize reports whether the peer may use path, such as
	// "/messages/devicebound", with a right, and until when: the zero time is
	// for ever. The error is a *causeway.Error with code IotHubUnauthorized.
	Authorize(path string, right auth.Rights) (expires time.Time, err error)

	// Bind has l closed with "amqp:unauthorized-access" when no claim covers
	// path with a right any more: the token expired and was not replaced by a
	// newer one, or its policy was changed. The caller calls release when the
	// link is detached.
	Bind(l Link, path string, right auth.Rights) (release func())
}

// Plane serves a family of addresses on connections that somebody else
// accepted. All calls for one peer come from its reader, one after the other.
type Plane interface {
	// Attach decides about a link with an address of the plane's, as
	// [amqp.Handler] does. It authorizes the peer. The address may be kept, what
	// is in a is borrowed.
	Attach(p Peer, addr hubamqp.Address, a *amqp.Attach) error

	// Flush ends a burst, as in [amqp.Handler].
	Flush(p Peer)

	// Closed says that the connection is gone. It comes once for every peer
	// that Attach was called with.
	Closed(p Peer)
}
