package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
)

// world is a whole cloud with a hub.
type world struct {
	t    *testing.T
	conn cloud.Connection
	o    client.Options
	s    *client.Service
	ctx  context.Context
}

func newWorld(t *testing.T) *world {
	t.Helper()
	cfg := config.Default()
	cfg.Data = filepath.Join(t.TempDir(), "data")
	cfg.Listen = config.Listen{HTTPS: "127.0.0.1:0", MQTT: "127.0.0.1:0", AMQP: "127.0.0.1:0"}
	cfg.Hubs = []config.Hub{{Name: "localhost", Partitions: 2}}
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hosts: []string{"localhost"}}}
	cfg.Stop.Drain = config.Duration(2 * time.Second)
	var said bytes.Buffer
	c, err := cloud.New(t.Context(), cfg, cloud.Options{Log: slog.New(slog.NewTextHandler(&said, nil)), Group: "devices"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			io.Copy(t.Output(), &said)
		}
	})
	select {
	case <-c.Ready():
	case err := <-done:
		done <- err
		t.Fatalf("the cloud has ended: %v", err)
	}
	w := &world{t: t, conn: c.Connection()}
	pem, err := os.ReadFile(w.conn.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	w.o = client.Options{HTTPSPort: w.conn.HTTPSPort, MQTTPort: w.conn.MQTTPort, AMQPPort: w.conn.AMQPPort, Address: "127.0.0.1"}
	if w.o.RootCAs, err = client.LoadCA(pem); err != nil {
		t.Fatal(err)
	}
	if w.s, err = client.NewService(w.conn.OwnerConnectionString, w.o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.s.Close)
	w.ctx = t.Context()
	return w
}

// device registers a device and returns how to connect it.
func (w *world) device(name string) client.DeviceOptions {
	w.t.Helper()
	d, err := w.s.CreateDevice(w.ctx, client.DeviceIdentity{DeviceID: name})
	if err != nil {
		w.t.Fatal(err)
	}
	return client.DeviceOptions{Options: w.o, ConnectionString: client.ConnectionString(w.s.Host(), name, "", d.Authentication)}
}

func (w *world) connect(o client.DeviceOptions) *client.Device {
	w.t.Helper()
	d, err := client.Connect(w.ctx, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	return d
}

// read returns the bodies of n events, sorted.
func (w *world) read(o client.EventsOptions, n int) []string {
	w.t.Helper()
	o.Options = w.o
	e, err := client.NewEvents(o)
	if err != nil {
		w.t.Fatal(err)
	}
	defer e.Close()
	ctx, cancel := context.WithCancel(w.ctx)
	defer cancel()
	var mu sync.Mutex
	var got []string
	err = e.Consume(ctx, client.ConsumeOptions{}, func(_ context.Context, list []client.PartitionEvent) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range list {
			got = append(got, fmt.Sprintf("%s %s", list[i].Message.From, list[i].Message.Body))
		}
		if len(got) >= n {
			cancel()
		}
		return nil
	})
	if w.ctx.Err() != nil || len(got) != n {
		w.t.Fatalf("%d events of %d: %v", len(got), n, err)
	}
	slices.Sort(got)
	return got
}

func TestWithACloud(t *testing.T) {
	if testing.Short() {
		t.Skip("a whole cloud")
	}
	w := newWorld(t)
	var want []string
	for _, transport := range []causeway.Transport{causeway.AMQP, causeway.AMQPWS, causeway.MQTT} {
		name := string(transport)
		o := w.device(name)
		o.Transport = transport
		commands, desired := make(chan *causeway.Message, 10), make(chan causeway.Patch, 10)
		o.Commands = func(_ context.Context, m *causeway.Message) error {
			commands <- m
			if string(m.Body) == "no" {
				return client.ErrReject
			}
			return nil
		}
		o.Methods = func(_ context.Context, c causeway.Call) (causeway.Result, error) {
			return causeway.Result{Status: 200, Payload: c.Payload}, nil
		}
		o.Desired = func(_ context.Context, p causeway.Patch) { desired <- p }
		d := w.connect(o)

		if err := d.Send(w.ctx, &causeway.Message{Body: []byte("one"), Properties: []causeway.Property{{Key: "a", Value: "b"}}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var list []causeway.Message
		for i := range 50 {
			list = append(list, causeway.Message{Body: fmt.Appendf(nil, "batch %d", i)})
			want = append(want, fmt.Sprintf("%s batch %d", name, i))
		}
		if err := d.SendBatch(w.ctx, list); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		want = append(want, name+" one")
		if err := d.Send(w.ctx, &causeway.Message{Body: make([]byte, causeway.MaxMessageSize+1)}); causeway.CodeOf(err) != causeway.MessageTooLarge {
			t.Errorf("%s: a large message: %v", name, err)
		}

		r, err := w.s.Invoke(w.ctx, name, "", client.MethodCall{Name: "echo", Payload: []byte(`{"x":[1]}`)})
		if err != nil || r.Status != 200 || string(r.Payload) != `{"x":[1]}` {
			t.Errorf("%s: method %+v, %v", name, r, err)
		}
		if n, err := d.Report(w.ctx, []byte(`{"state":"on"}`)); err != nil || n != 2 {
			t.Errorf("%s: reported version %d, %v", name, n, err)
		}
		if _, err := d.Report(w.ctx, []byte(`{"a.b":1}`)); causeway.CodeOf(err).HTTPStatus() != 400 {
			t.Errorf("%s: a bad patch: %v", name, err)
		}
		if _, err := w.s.UpdateTwin(w.ctx, name, "", client.TwinPatch{Desired: []byte(`{"interval":5}`)}, ""); err != nil {
			t.Fatal(err)
		}
		for p := range desired {
			if p.Version == 2 {
				break
			}
		}
		tw, err := d.Twin(w.ctx)
		if err != nil || tw.DesiredVersion != 2 || !strings.Contains(string(tw.Desired), `"interval":5`) || !strings.Contains(string(tw.Reported), `"state":"on"`) {
			t.Errorf("%s: twin %+v, %v", name, tw, err)
		}
		if err := w.s.SendCommand(w.ctx, name, "", &causeway.Message{ID: "m", Body: []byte("open"), Properties: []causeway.Property{{Key: "zone", Value: "3"}}}); err != nil {
			t.Fatal(err)
		}
		m := <-commands
		if v, _ := m.Property("zone"); string(m.Body) != "open" || m.ID != "m" || v != "3" {
			t.Errorf("%s: command %+v", name, m)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	slices.Sort(want)
	for _, o := range []client.EventsOptions{
		{ConnectionString: w.conn.EventHubsConnectionString},
		{ConnectionString: w.conn.EventHubsConnectionString, WebSocket: true},
		{ConnectionString: w.conn.ServiceConnectionString},
	} {
		if got := w.read(o, len(want)); !slices.Equal(got, want) {
			t.Errorf("%+v: read %q, want %q", o.WebSocket, got, want)
		}
	}
}

func TestMessagingWithACloud(t *testing.T) {
	if testing.Short() {
		t.Skip("a whole cloud")
	}
	w := newWorld(t)
	for _, ws := range []bool{false, true} {
		m, err := client.NewMessaging(client.MessagingOptions{Options: w.o, ConnectionString: w.conn.ServiceConnectionString, WebSocket: ws})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		f, err := m.Feedback(w.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.SendCommand(w.ctx, "nobody", "", &causeway.Message{}); causeway.CodeOf(err) != causeway.DeviceNotFound {
			t.Errorf("a command for nobody: %v", err)
		}
		// As many outcomes as make a batch full: it does not wait for more then.
		const devices, each = 2, 32
		want := map[string]string{}
		for i := range devices {
			o := w.device(fmt.Sprintf("d%v%d", ws, i))
			o.Transport, o.WebSocket = causeway.AMQP, ws
			tries := 0
			o.Commands = func(_ context.Context, c *causeway.Message) error {
				if !strings.HasPrefix(string(c.Body), "no") {
					return nil
				}
				if tries++; tries%2 == 1 {
					return errors.New("not now") // it is delivered again
				}
				return client.ErrReject
			}
			d := w.connect(o)
			defer d.Close()
			name := d.Identity().Device
			for n := range each {
				body, status := "yes", "Success"
				if n == 7 {
					body, status = "no", "Rejected"
				}
				id := fmt.Sprintf("%s-%d", name, n)
				want[id] = name + " " + status
				if err := m.SendCommand(w.ctx, name, "", &causeway.Message{ID: id, Body: []byte(body), Ack: causeway.AckFull}); err != nil {
					t.Fatal(err)
				}
			}
		}
		for len(want) > 0 {
			b, err := f.Receive(w.ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range b.Records {
				if want[r.MessageID] != r.Device+" "+r.Status {
					t.Errorf("feedback %+v", r)
				}
				delete(want, r.MessageID)
			}
			if err := b.Complete(); err != nil {
				t.Error(err)
			}
		}
		f.Close() // it would share what the next one waits for
	}
}

func TestPoolWithACloud(t *testing.T) {
	if testing.Short() {
		t.Skip("a whole cloud")
	}
	w := newWorld(t)
	for _, ws := range []bool{false, true} {
		pool := client.NewPool(client.PoolOptions{Options: w.o, WebSocket: ws, Devices: 20})
		var devices []*client.Device
		for i := range 50 {
			o := w.device(fmt.Sprintf("pool-%v-%d", ws, i))
			o.Pool = pool
			o.Methods = func(_ context.Context, c causeway.Call) (causeway.Result, error) {
				return causeway.Result{Status: 201}, nil
			}
			o.Desired = func(context.Context, causeway.Patch) {}
			devices = append(devices, w.connect(o))
		}
		for i, d := range devices {
			if err := d.Send(w.ctx, &causeway.Message{Body: fmt.Append(nil, i)}); err != nil {
				t.Error(err)
			}
			r, err := w.s.Invoke(w.ctx, d.Identity().Device, "", client.MethodCall{Name: "x"})
			if err != nil || r.Status != 201 {
				t.Errorf("device %d: method %+v, %v", i, r, err)
			}
		}
		for _, d := range devices {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
