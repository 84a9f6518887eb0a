package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// DefaultConsumerGroup is the consumer group that every event hub has.
const DefaultConsumerGroup = "$Default"

// emulatorPort is where connection strings with UseDevelopmentEmulator lead to
// when they name no port.
const emulatorPort = 5672

// EventsOptions say which events an Events reads, and how.
type EventsOptions struct {
	Options
	// ConnectionString is that of the Event Hubs-compatible endpoint,
	// "Endpoint=sb://…;SharedAccessKeyName=…;SharedAccessKey=…;EntityPath=…", or
	// that of a service for a hub, which says where its endpoint is.
	ConnectionString string
	// WebSocket talks AMQP over a WebSocket on the HTTPS port.
	WebSocket bool
	// ConsumerGroup is whose reading it is, "" for DefaultConsumerGroup.
	ConsumerGroup string
}

// Events reads the events of a hub from its Event Hubs-compatible endpoint. It
// connects when it is needed, and reconnects. It is safe for concurrent use.
type Events struct {
	o     EventsOptions
	cs    sas.ConnectionString
	proof *serviceProof // of a hub's connection string

	gate  chan struct{} // held while the endpoint is looked for
	where *eventsPlace  // nil until it is known; guarded by gate

	mu     sync.Mutex
	closed bool
	info   *back      // for questions; made for the first
	manage *requester // on its connection
}

// eventsPlace is where events are read.
type eventsPlace struct {
	endpoint endpoint
	entity   string
	audience string
}

// EventHub is what an endpoint says about itself.
type EventHub struct {
	Name       string
	Created    time.Time
	Partitions []string
}

// Partition is what an endpoint says about a partition. First is the sequence
// number of the oldest event that is held, Next that of the event to come; they
// are equal when none is held.
type Partition struct {
	ID           string
	First, Next  int64
	LastEnqueued time.Time // zero when there never was an event
}

// NewEvents returns a client for the events of a hub. It does not connect yet.
func NewEvents(o EventsOptions) (*Events, error) {
	cs, err := sas.ParseConnectionString(o.ConnectionString)
	if err != nil {
		return nil, err
	}
	e := &Events{o: o, cs: cs, gate: make(chan struct{}, 1)}
	if e.o.ConsumerGroup == "" {
		e.o.ConsumerGroup = DefaultConsumerGroup
	}
	if cs.Endpoint == "" {
		e.proof, err = serviceTokens(o.ConnectionString)
		return e, err
	}
	if cs.EntityPath == "" {
		return nil, errors.New("connection string: EntityPath is missing")
	}
	at, port := o.backEnd(cs.Host(), o.WebSocket, eventsSocket)
	if !o.WebSocket && o.AMQPPort == 0 && port != 0 {
		at.addr = o.address(at.host, port, port)
	}
	if cs.Emulator && !o.WebSocket {
		at.plain, at.addr = true, o.address(at.host, port, emulatorPort)
	}
	e.where = place(at, cs.EntityPath)
	return e, nil
}

func place(at endpoint, entity string) *eventsPlace {
	return &eventsPlace{endpoint: at, entity: entity, audience: "sb://" + at.host + "/" + entity}
}

// Close ends what is open. Readers are closed on their own.
func (e *Events) Close() {
	e.mu.Lock()
	e.closed = true
	info := e.info
	e.mu.Unlock()
	if info != nil {
		info.close()
	}
}

// Hub asks about the event hub.
func (e *Events) Hub(ctx context.Context) (EventHub, error) {
	const op = "get event hub"
	b, err := e.ask(ctx, op, hubamqp.ManagementRequest{Type: hubamqp.TypeEventHub})
	if err != nil {
		return EventHub{}, err
	}
	r, info, err := hubamqp.DecodeEventHubInfo(b)
	if err == nil {
		err = replyError(op, r)
	}
	return EventHub{info.Name, info.Created, info.Partitions}, err
}

// Partition asks about a partition.
func (e *Events) Partition(ctx context.Context, id string) (Partition, error) {
	const op = "get partition"
	b, err := e.ask(ctx, op, hubamqp.ManagementRequest{Type: hubamqp.TypePartition, Partition: id})
	if err != nil {
		return Partition{}, err
	}
	r, info, err := hubamqp.DecodePartitionInfo(b)
	if err == nil {
		err = replyError(op, r)
	}
	return Partition{id, info.First, info.Next, info.LastEnqueued}, err
}

// ask asks $management on a connection of its own: readers may be busy with
// events that nobody takes. A question does no harm, so it is asked again when
// the connection turns out to be gone.
func (e *Events) ask(ctx context.Context, op string, q hubamqp.ManagementRequest) ([]byte, error) {
	at, err := e.find(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", op, err)
	}
	for again := false; ; again = true {
		var manage *requester
		if manage, err = e.manager(ctx, at); err != nil {
			return nil, fmt.Errorf("%s: %w", op, err)
		}
		token, _ := e.sign(at)
		b, err := manage.do(ctx, op, func(id codec.Value) []byte {
			q.MessageID, q.ReplyTo, q.Name, q.Token = id, replyTo, at.entity, causeway.Secret(token)
			return hubamqp.AppendManagementRequest(nil, q)
		})
		if err == nil || again || !errors.Is(err, amqp.ErrClosed) && !errors.Is(err, amqp.ErrDetached) {
			return b, err
		}
	}
}

// manager returns who asks questions.
func (e *Events) manager(ctx context.Context, at *eventsPlace) (*requester, error) {
	e.mu.Lock()
	if e.closed {
		e.mu.Unlock()
		return nil, ErrClosed
	}
	if e.info == nil {
		e.info = e.back(at)
	}
	info := e.info
	e.mu.Unlock()
	c, err := info.open(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.manage == nil || e.manage.conn != c {
		e.manage = newRequester(c, at.entity+"/"+hubamqp.ManagementAddress)
	}
	return e.manage, nil
}

// back returns a connection to the endpoint.
func (e *Events) back(at *eventsPlace) *back {
	return newBack(&e.o.Options, at.endpoint, at.audience, func() (string, time.Time) { return e.sign(at) })
}

// sign returns a token for the endpoint: there the text of a key signs, not what
// it is the base64 of.
func (e *Events) sign(at *eventsPlace) (token string, expires time.Time) {
	if e.cs.SharedAccessSignature != "" {
		return e.cs.SharedAccessSignature, time.Time{}
	}
	expires = time.Now().Add(TokenLifetime)
	return sas.Sign(at.audience, []byte(e.cs.SharedAccessKey), e.cs.SharedAccessKeyName, expires), expires
}

// find returns where the endpoint is. A hub is asked for it.
func (e *Events) find(ctx context.Context) (*eventsPlace, error) {
	select {
	case e.gate <- struct{}{}:
		defer func() { <-e.gate }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if e.where != nil {
		return e.where, nil
	}
	at, _ := e.o.backEnd(e.proof.hostName, e.o.WebSocket, hubSocket)
	hub := newBack(&e.o.Options, at, at.host, e.proof.sign)
	defer hub.close()
	c, err := hub.open(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.Begin(ctx)
	if err != nil {
		return nil, amqpError(err)
	}
	_, err = s.AttachReceiver(ctx, amqp.LinkConfig{Source: "messages/events/"}, amqp.ReceiverOptions{Handler: &amqp.Inbox{}})
	if err == nil {
		return nil, errors.New("the hub does not say where its events are read")
	}
	cond, ok := errors.AsType[*codec.Condition](err)
	if !ok || cond.Name != hubamqp.LinkRedirect {
		return nil, amqpError(err)
	}
	e.where, err = e.redirected(cond)
	return e.where, err
}

// redirected reads where a hub says that its endpoint is.
func (e *Events) redirected(c *codec.Condition) (*eventsPlace, error) {
	text := func(key string) string {
		v, _ := c.Info.Lookup(key)
		t, _ := v.Text()
		return strings.Clone(t)
	}
	u, err := url.Parse(text("address"))
	if err != nil || u.Hostname() == "" {
		return nil, fmt.Errorf("the hub redirects to %q, which is no address", text("address"))
	}
	entity, _, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if entity == "" {
		return nil, fmt.Errorf("the hub redirects to %q, which names no event hub", text("address"))
	}
	host := text("hostname")
	if host == "" {
		host = u.Hostname()
	}
	at, _ := e.o.backEnd(host, e.o.WebSocket, eventsSocket)
	if v, ok := c.Info.Lookup("port"); ok && !e.o.WebSocket {
		if n, ok := v.Int64(); ok && n > 0 && n <= 65535 {
			at.addr = e.o.address(at.host, int(n), DefaultAMQPPort)
		}
	}
	return place(at, entity), nil
}
