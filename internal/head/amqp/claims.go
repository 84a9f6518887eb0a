package amqp

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/core/auth"
	"github.com/causeway-iot/causeway/internal/core/claims"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// token is the proof of one device or module.
type token struct {
	device, module string
	secret         causeway.Secret
	expires        time.Time
}

// grant is the proof of a policy.
type grant struct {
	audience string // key of what it was put for; "" with SASL PLAIN
	policy   string
	secret   causeway.Secret
	entity   string // how its resource calls the hub's event hub, if it does
	key      bool   // secret is the key of the policy, not a token
	expires  time.Time
}

// binding is a link that ends with its claim.
type binding struct {
	link  claims.Link
	path  string
	right auth.Rights
}

// lasts returns until when a proof that is taken now counts. One that has
// expired is taken for a while, in case the clock of the client is slow, and
// counts until the end of that while.
func lasts(now, expires time.Time) time.Time {
	if !expires.IsZero() && !expires.After(now) {
		return expires.Add(causeway.TokenSkew)
	}
	return expires
}

// valid reports whether a proof still counts.
func valid(now, expires time.Time) bool { return expires.IsZero() || expires.After(now) }

// readToken returns a token that is not verified.
func readToken(device, module string, secret causeway.Secret) (token, error) {
	t, err := sas.Parse(string(secret))
	if err != nil {
		return token{}, auth.Unauthorized("amqp.token", fmt.Errorf("%w: %w", auth.ErrToken, err))
	}
	return token{device: device, module: module, secret: secret, expires: lasts(time.Now(), t.Expiry)}, nil
}

// verifyToken asks the hub whether a token is good for a device or module. The
// session that is opened for that takes nobody over.
func (c *conn) verifyToken(ctx context.Context, device, module string, secret causeway.Secret) (token, error) {
	t, err := readToken(device, module, secret)
	if err != nil {
		return token{}, err
	}
	cred := c.credentialOf(causeway.Identity{Device: device, Module: module})
	cred.Token = secret
	s, err := c.v.hub.Connect(ctx, cred, nil)
	if err != nil {
		return token{}, err
	}
	_ = s.Close(nil)
	return t, nil
}

// verifyCertificate asks the hub whether the client's certificate is that of the
// identity in its common name: of a device, or of a module behind the id of its
// device. Certificates known by their thumbprint may have other names, and are only
// known by a link.
func (c *conn) verifyCertificate(ctx context.Context) error {
	c.mu.Lock()
	chain := certificates(c.w)
	c.mu.Unlock()
	device, module, _ := strings.Cut(chain[0].Subject.CommonName, "/")
	s, err := c.v.hub.Connect(ctx, c.credentialOf(causeway.Identity{Device: device, Module: module}), nil)
	if err != nil {
		return err
	}
	return s.Close(nil)
}

// keepToken takes a token in place of an earlier one of the same identity.
func (c *conn) keepToken(t token) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.tokens {
		if c.tokens[i].device == t.device && c.tokens[i].module == t.module {
			c.tokens[i] = t
			c.arm()
			return nil
		}
	}
	if err := c.roomForToken(); err != nil {
		return err
	}
	c.tokens = append(c.tokens, t)
	c.arm()
	return nil
}

// verifyGrant verifies the proof of a policy by what the hub's policies are now,
// and sets when it ends.
func (c *conn) verifyGrant(g *grant) (auth.Grant, error) {
	_, realm, ok := c.v.realms.Realm(c.host)
	if !ok {
		return auth.Grant{}, auth.Unauthorized("amqp.token", fmt.Errorf("%w: %q", auth.ErrHost, c.host))
	}
	now := time.Now()
	a, err := g.verify(now, c.host, realm)
	if err == nil {
		g.expires, g.entity = lasts(now, a.Expires), entityOf(c.hub, g.secret)
	}
	return a, err
}

// verify is verifyGrant for who has the realm. Tokens of the Event
// Hubs-compatible endpoint are put on the same links and may be signed with the
// text of a key: both ways are accepted of all.
func (g *grant) verify(now time.Time, host string, realm auth.Realm) (auth.Grant, error) {
	if g.key {
		return auth.EventsKey(g.policy, g.secret, realm)
	}
	return auth.EventsToken(now, g.secret, host, realm)
}

// keepGrant takes a grant in place of an earlier one for the same audience.
func (c *conn) keepGrant(g grant) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.grants {
		if c.grants[i].audience == g.audience {
			c.grants[i] = g
			c.arm()
			return nil
		}
	}
	if err := c.roomForToken(); err != nil {
		return err
	}
	c.grants = append(c.grants, g)
	c.arm()
	return nil
}

// roomForToken refuses another token at the bound; c.mu is held.
func (c *conn) roomForToken() error {
	if n := len(c.tokens) + len(c.grants); n >= c.v.limits.Tokens {
		return causeway.Errorf(causeway.IotHubMaxCbsTokenExceeded, "amqp.token", "the connection has %d tokens already, which is the most", n)
	}
	return nil
}

// allowed is a verified grant.
type allowed struct {
	auth.Grant
	from *grant
	hub  string
}

// covers reports whether the token's resource is good for path. The event hub of
// a hub has several names, which all stand for the hub's own.
func (a *allowed) covers(path string) bool {
	if a.Covers(path) {
		return true
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if !isEventHub(a.hub, first) {
		return false
	}
	for _, name := range [...]string{a.hub, a.from.entity} {
		if name != "" && a.Covers("/"+name+"/"+rest) {
			return true
		}
	}
	return false
}

// isEventHub reports whether name is one of the names of a hub's event hub: that
// of the hub, or one as IoT Hub gives them.
func isEventHub(hub, name string) bool {
	if strings.EqualFold(name, hub) {
		return true
	}
	prefix := "iothub-ehub-" + hub + "-"
	return len(name) > len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// entityOf returns the name of the hub's event hub in the resource of a token.
func entityOf(hub string, secret causeway.Secret) string {
	t, err := sas.Parse(string(secret))
	if err != nil {
		return ""
	}
	_, path, ok := strings.Cut(t.Resource, "://")
	if !ok {
		path = t.Resource
	}
	_, path, _ = strings.Cut(path, "/")
	name, _, _ := strings.Cut(path, "/")
	if !isEventHub(hub, name) {
		return ""
	}
	return name
}

// verified returns the grants that count now; c.mu is held.
func (c *conn) verified(now time.Time) []allowed {
	if len(c.grants) == 0 {
		return nil
	}
	_, realm, ok := c.v.realms.Realm(c.host)
	if !ok {
		return nil
	}
	list := make([]allowed, 0, len(c.grants))
	for i := range c.grants {
		g := &c.grants[i]
		if !valid(now, g.expires) {
			continue
		}
		if a, err := g.verify(now, c.host, realm); err == nil {
			list = append(list, allowed{a, g, c.hub})
		}
	}
	return list
}

// best returns the grant that covers path with a right for the longest time.
func best(list []allowed, path string, right auth.Rights) (g *grant, err error) {
	cause := auth.ErrNoProof
	for _, a := range list {
		switch {
		case !a.covers(path):
			cause = auth.ErrScope
		case !a.Rights.Has(right):
			cause = auth.ErrRights
		case g == nil || !g.expires.IsZero() && (a.from.expires.IsZero() || a.from.expires.After(g.expires)):
			g = a.from
		}
	}
	if g == nil {
		return nil, auth.Unauthorized("amqp.authorize", fmt.Errorf("%w: %s of %q", cause, right, path))
	}
	return g, nil
}

// Authorize reports whether the client may use path with a right: part of
// [claims.Peer]. The policies of the hub are those of now.
func (c *conn) Authorize(path string, right auth.Rights) (expires time.Time, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	g, err := best(c.verified(time.Now()), path, right)
	if err != nil {
		return time.Time{}, err
	}
	return g.expires, nil
}

// Bind closes l when its claim ends: part of [claims.Peer].
func (c *conn) Bind(l claims.Link, path string, right auth.Rights) (release func()) {
	b := &binding{l, path, right}
	c.mu.Lock()
	c.bindings = append(c.bindings, b)
	c.mu.Unlock()
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for i, x := range c.bindings {
			if x == b {
				last := len(c.bindings) - 1
				c.bindings[i], c.bindings[last] = c.bindings[last], nil
				c.bindings = c.bindings[:last]
				return
			}
		}
	}
}

// uncovered takes out the bindings that no grant covers any more; c.mu is held.
func (c *conn) uncovered(now time.Time) []*binding {
	if len(c.bindings) == 0 {
		return nil
	}
	list := c.verified(now)
	var over []*binding
	kept := c.bindings[:0]
	for _, b := range c.bindings {
		if _, err := best(list, b.path, b.right); err != nil {
			over = append(over, b)
		} else {
			kept = append(kept, b)
		}
	}
	clear(c.bindings[len(kept):])
	c.bindings = kept
	return over
}

// closeBindings ends links whose claim has ended.
func closeBindings(over []*binding) {
	for _, b := range over {
		b.link.Close(hubamqp.NewCondition(hubamqp.Unauthorized, causeway.IotHubUnauthorized,
			"the token has expired, or its policy was changed; put a new one and attach again"))
	}
}

// recheck closes the links that no policy of the hub covers any more.
func (c *conn) recheck(hub string) {
	c.mu.Lock()
	var over []*binding
	if c.hub == hub && !c.over {
		over = c.uncovered(time.Now())
	}
	c.mu.Unlock()
	closeBindings(over)
}
