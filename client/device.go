package client

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// Defaults and bounds of a device.
const (
	DefaultInFlight   = 100              // unacknowledged messages
	MaxInFlight       = 1 << 14          // packet ids are 16 bits
	DefaultKeepAlive  = 4 * time.Minute  // between pings
	DefaultMaxBackOff = 30 * time.Second // between attempts to reconnect
	minBackOff        = 200 * time.Millisecond
	steady            = 30 * time.Second // a connection that lasted this long ends the back-off
	pingTimeout       = 30 * time.Second // for the answer to a ping
	closeGrace        = 5 * time.Second  // for handlers and the last bytes when closing
	renewal           = 17               // twentieths of a token's life after which it is renewed
	workQueue         = 64               // deliveries that wait for a handler; when full, desired changes are read again later and commands left to redelivery
)

// The errors of a device that do not come from the hub. ErrClosed is that of the
// other clients, too.
var (
	ErrClosed  = errors.New("client: closed")
	ErrOffline = errors.New("device client: not connected")
)

// ErrReject, wrapped by what a handler of commands returns, rejects a command
// for good: the hub does not deliver it again.
var ErrReject = errors.New("device client: command rejected")

// DeviceOptions say who a device is and what it does with what it receives.
// Handlers are called as soon as the device is connected; one without a handler
// is not asked for.
type DeviceOptions struct {
	Options

	// ConnectionString names hub and identity: "HostName=…;DeviceId=…" with
	// SharedAccessKey, SharedAccessSignature or x509=true. Required.
	ConnectionString string
	// Certificate is the proof with x509=true.
	Certificate *tls.Certificate
	// ModelID announces a digital twin model.
	ModelID string
	// Transport is MQTT, MQTTWS, AMQP or AMQPWS of package causeway; "" is MQTT.
	Transport causeway.Transport
	// WebSocket talks over a WebSocket on the HTTPS port: it makes MQTTWS of
	// MQTT, and AMQPWS of AMQP.
	WebSocket bool
	// Pool shares its connections among devices that talk AMQP and prove
	// themselves with keys. Nil is a connection of the device's own. The
	// network is that of the pool's options, and Transport is the pool's.
	Pool *Pool
	// CleanSession forgets subscriptions between connections. Commands wait in
	// the hub in either case. AMQP has no such sessions.
	CleanSession bool

	// Commands gets cloud-to-device messages, one after the other. A command
	// is completed when it returns nil and rejected when it returns an error
	// that wraps ErrReject. After any other error the hub delivers it again: over
	// AMQP at once, and counts that; over MQTT, which has no word for that nor
	// for rejecting, once its lock has ended.
	Commands func(ctx context.Context, m *causeway.Message) error
	// Methods answers direct methods, several at once. An error becomes status
	// 500 with its text.
	Methods func(ctx context.Context, c causeway.Call) (causeway.Result, error)
	// Desired gets changes of the desired properties in the order of their
	// versions. After a connection was lost, and at the start, it gets the
	// whole desired section if that has changed meanwhile.
	Desired func(ctx context.Context, p causeway.Patch)
	// Online is told when the connection comes (nil) and goes (why). It must
	// not block.
	Online func(err error)

	// InFlight bounds unacknowledged messages, batches counting as one; senders
	// wait at the bound. 0 means DefaultInFlight.
	InFlight int
	// KeepAlive is the time between pings, 0 for DefaultKeepAlive.
	KeepAlive time.Duration
	// TokenLifetime is how long signed tokens are valid, 0 for TokenLifetime.
	// Before one ends the device hands the hub a new one; over MQTT it
	// reconnects for that.
	TokenLifetime time.Duration
	// MaxBackOff bounds the time between attempts to reconnect, 0 for
	// DefaultMaxBackOff.
	MaxBackOff time.Duration
}

// Device is a connected device or module. Its methods are safe for concurrent
// use.
type Device struct {
	o    DeviceOptions
	id   causeway.Identity
	host string
	key  []byte // nil with a ready token or a certificate
	cs   sas.ConnectionString
	log  *slog.Logger

	transport transport

	ctx      context.Context // the device's life
	cancel   context.CancelFunc
	all      sync.WaitGroup // every goroutine of the device
	slots    chan struct{}  // one token per message in flight
	flushing chan struct{}  // held by a Flush
	work     chan delivery  // to the one goroutine that calls Commands and Desired
	calls    chan struct{}  // one token per method that runs
	behind   atomic.Bool    // a desired change was dropped; read the twin

	mu          sync.Mutex
	cur         link  // nil while not connected
	why         error // it is not connected; nil when it never was otherwise
	pending     pending
	replies     map[string]chan twinReply
	twinWanted  bool  // twin responses are subscribed to, or will be at the next connect
	lastDesired int64 // version last given to Desired
	rid         uint64
}

// Connect connects a device and returns once the hub has accepted it. From
// then on it stays connected until Close; only ctx's values matter after that.
//
// Codes: IotHubUnauthorized (unknown identity, wrong or expired proof,
// disabled), ServerBusy, InvalidProtocolVersion.
func Connect(ctx context.Context, o DeviceOptions) (*Device, error) {
	d, err := newDevice(o)
	if err != nil {
		return nil, err
	}
	d.ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l, err := d.transport.open(ctx)
	if err != nil {
		d.cancel()
		d.all.Wait()
		return nil, fmt.Errorf("connect %s: %w", d.id, err)
	}
	d.all.Go(func() { d.stay(l) })
	d.all.Go(d.handle)
	select {
	case ok := <-l.ready():
		if !ok {
			return nil, errors.Join(fmt.Errorf("connect %s: the hub refused a subscription, or ended the connection", d.id), d.Close())
		}
	case <-ctx.Done():
		return nil, errors.Join(fmt.Errorf("connect %s: wait for subscriptions: %w", d.id, ctx.Err()), d.Close())
	}
	if o.Desired != nil {
		if err := d.syncDesired(ctx); err != nil {
			return nil, errors.Join(fmt.Errorf("connect %s: read desired properties: %w", d.id, err), d.Close())
		}
	}
	return d, nil
}

func newDevice(o DeviceOptions) (*Device, error) {
	cs, err := sas.ParseConnectionString(o.ConnectionString)
	if err != nil {
		return nil, err
	}
	if cs.HostName == "" || cs.DeviceID == "" {
		return nil, errors.New("connection string: HostName or DeviceId is missing")
	}
	d := &Device{
		o: o, cs: cs, log: o.Options.log(), replies: map[string]chan twinReply{},
		id: causeway.Identity{Device: cs.DeviceID, Module: cs.ModuleID},
	}
	d.host, _ = splitHost(cs.HostName)
	if d.o.Address == "" {
		d.o.Address = cs.GatewayHostName
	}
	if err := d.choose(); err != nil {
		return nil, err
	}
	switch {
	case cs.SharedAccessKey != "":
		if d.key, err = base64.StdEncoding.DecodeString(cs.SharedAccessKey); err != nil {
			return nil, errors.New("connection string: SharedAccessKey is not base64")
		}
	case cs.SharedAccessSignature != "":
	case o.Certificate == nil:
		return nil, errors.New("connection string: it has neither SharedAccessKey nor SharedAccessSignature, and no certificate was given")
	}
	if d.o.InFlight <= 0 {
		d.o.InFlight = DefaultInFlight
	}
	d.o.InFlight = min(d.o.InFlight, MaxInFlight)
	if d.o.KeepAlive <= 0 {
		d.o.KeepAlive = DefaultKeepAlive
	}
	d.o.KeepAlive = min(d.o.KeepAlive, causeway.MaxKeepAlive)
	if d.o.TokenLifetime <= 0 {
		d.o.TokenLifetime = TokenLifetime
	}
	if d.o.MaxBackOff <= 0 {
		d.o.MaxBackOff = DefaultMaxBackOff
	}
	d.slots, d.flushing = make(chan struct{}, d.o.InFlight), make(chan struct{}, 1)
	d.work = make(chan delivery, workQueue)
	d.calls = make(chan struct{}, causeway.MaxInflightMethods)
	d.twinWanted = o.Desired != nil
	return d, nil
}

// choose makes the transport.
func (d *Device) choose() error {
	switch d.o.Transport {
	case "", causeway.MQTT, causeway.MQTTWS:
		if d.o.Pool == nil {
			d.transport = &mqttTransport{d: d, subacks: map[uint16]chan bool{}}
			return nil
		}
		if d.o.Transport != "" {
			return errors.New("device options: a pool shares connections that talk AMQP")
		}
	case causeway.AMQP, causeway.AMQPWS:
	default:
		return fmt.Errorf("device options: transport %q is not one of %s, %s, %s and %s", d.o.Transport, causeway.MQTT, causeway.MQTTWS, causeway.AMQP, causeway.AMQPWS)
	}
	t, err := newAMQPTransport(d)
	d.transport = t
	return err
}

func (d *Device) overWebSocket() bool {
	return d.o.WebSocket || d.o.Transport == causeway.MQTTWS || d.o.Transport == causeway.AMQPWS
}

// Identity returns who the device is. Its Hub is empty: a client knows host
// names only, see Host.
func (d *Device) Identity() causeway.Identity { return d.id }

// Host returns the host name of the hub.
func (d *Device) Host() string { return d.host }

// Connected reports whether the device is connected at this moment.
func (d *Device) Connected() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cur != nil
}

// Close says goodbye, waits for handlers to return, and fails what was not
// acknowledged with ErrClosed. Use Flush before to have it acknowledged. It is
// idempotent.
func (d *Device) Close() error {
	d.mu.Lock()
	l := d.cur
	d.mu.Unlock()
	if l != nil {
		l.goodbye(closeGrace)
	}
	d.cancel()
	d.all.Wait()
	d.mu.Lock()
	lost := d.pending.clear()
	d.mu.Unlock()
	for _, p := range lost {
		d.settle(p, ErrClosed)
	}
	return nil
}

// proof returns the token of the device and when it ends; a zero time does not
// end as far as we know. Who proves itself with a certificate has none.
func (d *Device) proof(now time.Time) (token string, expires time.Time) {
	switch {
	case d.key != nil:
		expires = now.Add(d.o.TokenLifetime)
		resource := d.host + "/devices/" + d.id.Device
		if d.id.Module != "" {
			resource += "/modules/" + d.id.Module
		}
		return sas.Sign(resource, d.key, d.cs.SharedAccessKeyName, expires), expires
	default:
		return d.cs.SharedAccessSignature, time.Time{}
	}
}

// renewAfter returns how long to wait before renewing a token that is valid for
// so long.
func renewAfter(left time.Duration) time.Duration { return left * renewal / 20 }

// DeviceName returns the device or device/module that the connection string
// names, "" when it cannot be read.
func (o *DeviceOptions) DeviceName() string {
	cs, err := sas.ParseConnectionString(o.ConnectionString)
	if err != nil {
		return ""
	}
	return causeway.Identity{Device: cs.DeviceID, Module: cs.ModuleID}.String()
}
