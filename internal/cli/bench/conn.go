package bench

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/mqtt"
	"github.com/causeway-iot/causeway/internal/wire/sas"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

const maxPacket = 1 << 20

// device is one simulated device and its connection.
type device struct {
	id   causeway.Identity
	conn net.Conn
	r    *mqtt.Reader
	out  []byte // reused for every write
}

func (t *Target) device(i int) *device {
	return &device{id: causeway.Identity{Device: fmt.Sprintf("bench-%05d", i)}}
}

// deviceKey makes the key of a device from the secret of the target, so that
// devices made by an earlier run are still good.
func (t *Target) deviceKey(id string) []byte {
	h := hmac.New(sha256.New, t.Key)
	h.Write([]byte(id))
	return h.Sum(nil)
}

func encodeKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// provisioning is how many devices are created at once: the hub writes what
// waits in one transaction.
const provisioning = 64

// provision makes sure that the devices exist with our keys.
func (t *Target) provision(ctx context.Context, l Load) error {
	if !t.Hub() {
		return nil
	}
	ours := func(d client.DeviceIdentity) bool {
		a := d.Authentication
		return d.Status == "enabled" && a != nil && a.SymmetricKey != nil &&
			a.SymmetricKey.PrimaryKey == encodeKey(t.deviceKey(d.DeviceID))
	}
	have := map[string]bool{}
	list, err := t.Service.Devices(ctx, 0)
	if err != nil {
		return err
	}
	for _, d := range list {
		have[d.DeviceID] = ours(d)
	}
	partial := len(list) >= causeway.MaxPageSize // there may be more than were listed
	made := l.counter("devices")
	return inParallel(ctx, provisioning, l.Devices, func(ctx context.Context, i int) error {
		defer made()
		id := t.device(i).id.Device
		if have[id] {
			return nil
		}
		if partial {
			if d, err := t.Service.Device(ctx, id); err == nil && ours(d) {
				return nil
			}
		}
		key := encodeKey(t.deviceKey(id))
		d := client.DeviceIdentity{DeviceID: id, Status: "enabled", Authentication: &client.Authentication{
			Type: "sas", SymmetricKey: &client.SymmetricKey{PrimaryKey: key, SecondaryKey: key},
		}}
		_, err := t.Service.CreateDevice(ctx, d)
		if causeway.CodeOf(err) == causeway.DeviceAlreadyExists {
			_, err = t.Service.UpdateDevice(ctx, d, client.AnyVersion)
		}
		return err
	})
}

// inParallel calls f for 0 … n-1, at most limit at once, until one fails.
func inParallel(ctx context.Context, limit, n int, f func(ctx context.Context, i int) error) error {
	g, all := errgroup.WithContext(ctx)
	g.SetLimit(limit)
	for i := 0; i < n && all.Err() == nil; i++ {
		g.Go(func() error { return f(all, i) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return context.Cause(ctx) // it may have ended before all were begun
}

// connect opens the connection of d: TCP, TLS, CONNECT, CONNACK.
func (t *Target) connect(ctx context.Context, d *device, cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	var nd net.Dialer
	raw, err := nd.DialContext(ctx, "tcp", t.Address)
	if err != nil {
		return err
	}
	conn := tls.Client(raw, cfg)
	if err := t.greet(ctx, d, conn); err != nil {
		raw.Close()
		return fmt.Errorf("connect %s: %w", d.id.Device, err)
	}
	d.conn = conn
	return nil
}

func (t *Target) greet(ctx context.Context, d *device, conn *tls.Conn) error {
	if err := conn.HandshakeContext(ctx); err != nil {
		return fmt.Errorf("TLS: %w", err)
	}
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	c := mqtt.Connect{Version: mqtt.V311, ClientID: d.id.Device, CleanStart: true, KeepAlive: uint16(causeway.MaxKeepAlive / time.Second)}
	if t.Hub() {
		user := topic.Username{Host: t.Host, Device: d.id.Device, APIVersion: "2021-04-12", ClientType: "causeway-bench"}
		c.HasUserName, c.UserName = true, user.String()
		c.HasPassword, c.Password = true, sas.Sign(t.Host+"/devices/"+d.id.Device, t.deviceKey(d.id.Device), "", time.Now().Add(24*time.Hour))
	}
	b, err := c.Append(nil, mqtt.V311)
	if err != nil {
		return err
	}
	if _, err := conn.Write(b); err != nil {
		return err
	}
	d.r = mqtt.NewReader(conn, mqtt.V311, maxPacket)
	f, err := d.r.Next()
	if err != nil {
		return fmt.Errorf("wait for CONNACK: %w", err)
	}
	var ack mqtt.Connack
	if err := ack.Decode(f, mqtt.V311); err != nil {
		return err
	}
	if ack.Code != mqtt.Accepted {
		return fmt.Errorf("the server refused the device with code %d", ack.Code)
	}
	return conn.SetDeadline(time.Time{})
}

// subscribe asks for filters and waits for the grant.
func (d *device) subscribe(filters ...string) error {
	s := mqtt.Subscribe{ID: 1}
	for _, f := range filters {
		s.Subscriptions = append(s.Subscriptions, mqtt.Subscription{Filter: f, QoS: 1})
	}
	b, err := s.Append(nil, mqtt.V311)
	if err != nil {
		return err
	}
	if _, err := d.conn.Write(b); err != nil {
		return err
	}
	f, err := d.r.Next()
	if err != nil {
		return fmt.Errorf("wait for SUBACK: %w", err)
	}
	var ack mqtt.Suback
	if err := ack.Decode(f, mqtt.V311); err != nil {
		return err
	}
	for i, c := range ack.Codes {
		if c.Failed() {
			return fmt.Errorf("the server refused the filter %s", filters[i])
		}
	}
	return nil
}

// fleet is the connected devices of a run.
type fleet []*device

// assemble provisions and connects all devices.
func (t *Target) assemble(ctx context.Context, l Load, each func(d *device) error) (_ fleet, err error) {
	if err := t.provision(ctx, l); err != nil {
		return nil, fmt.Errorf("create devices: %w", err)
	}
	f := make(fleet, l.Devices)
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	cfg := t.tls()
	up := l.counter("connections")
	err = inParallel(ctx, l.Dialing, l.Devices, func(ctx context.Context, i int) error {
		d := t.device(i)
		if err := t.connect(ctx, d, cfg); err != nil {
			return err
		}
		f[i] = d
		up()
		if each != nil {
			return each(d)
		}
		return nil
	})
	return f, err
}

func (f fleet) close() {
	// Closing waits for TLS alerts to be written: not one after the other.
	_ = inParallel(context.Background(), 64, len(f), func(_ context.Context, i int) error { //nolint:errcheck // f never fails
		if f[i] != nil && f[i].conn != nil {
			f[i].conn.Close()
		}
		return nil
	})
}

var errStuck = errors.New("the server stopped answering")

// phase tells the connections of a run what time it is.
type phase struct {
	state atomic.Int32
	began time.Time // of the counting
}

const (
	warming int32 = iota
	counting
	over
)

func (p *phase) is(s int32) bool { return p.state.Load() == s }

// begin is called before the connections have something to do: without a warm-up
// the very first counts, also when the clock gets its turn late.
func (p *phase) begin(l Load) {
	if l.Warmup <= 0 {
		p.count()
	}
}

func (p *phase) count() {
	p.began = time.Now()
	p.state.Store(counting)
}

// clock runs warm-up and measurement, and returns how long was measured.
func (p *phase) clock(ctx context.Context, l Load) time.Duration {
	if !p.is(counting) {
		wait(ctx, l.Warmup)
		p.count()
	}
	wait(ctx, l.Duration)
	took := time.Since(p.began)
	p.state.Store(over)
	return took
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
