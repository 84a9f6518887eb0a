//go:build interop

package interop

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/messaging/azeventhubs/v2"
	"github.com/coder/websocket"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
)

// goSDK reads the hub's events with azeventhubs.
func goSDK(t *testing.T, w world) {
	pool, err := trust(w.ready.CAFile)
	if err != nil {
		t.Fatal(err)
	}
	g := &goReader{world: w, tls: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	g.fill(t)
	t.Run("properties of hub and partitions", g.properties)
	t.Run("all partitions, over AMQP", func(t *testing.T) { g.all(t, false) })
	t.Run("all partitions, over WebSocket", func(t *testing.T) { g.all(t, true) })
	t.Run("start positions", g.positions)
	t.Run("latest", g.latest)
	t.Run("receive in batches without prefetch", g.batches)
	t.Run("owner level", g.ownerLevel)
	t.Run("processor with checkpoints", g.processor)
	t.Run("refusals", g.refusals)
}

// goReader is what the cases share: events that are in the log.
type goReader struct {
	world
	tls   *tls.Config
	start time.Time            // before the first of them
	sent  map[string]bool      // bodies
	parts map[string][]*posted // by partition, in order
}

type posted struct {
	body     string
	sequence int64
	offset   string
	time     time.Time
}

func goContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// fill sends telemetry of several devices until each partition has some of it.
func (g *goReader) fill(t *testing.T) {
	g.start = time.Now().Add(-time.Second)
	g.sent = map[string]bool{}
	o := client.Options{RootCAs: g.tls.RootCAs}
	s, err := client.NewService(g.ready.OwnerConnectionString, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	c := g.client(t, false)
	for round := range 10 {
		for i := range 8 {
			id := fmt.Sprintf("go-%d-%d-%d", g.start.UnixNano(), round, i)
			g.device(t, s, o, id, 10)
			for n := range 10 {
				g.sent[bodyOf(id, n)] = true
			}
		}
		g.read(t, c)
		if len(g.parts) == len(g.hub(t, c).PartitionIDs) && g.enough() {
			return
		}
	}
	t.Fatalf("after 80 devices there are events in the partitions %q only", slices.Sorted(maps.Keys(g.parts)))
}

func (g *goReader) enough() bool {
	for _, p := range g.parts {
		if len(p) < 10 {
			return false
		}
	}
	return true
}

func (g *goReader) device(t *testing.T, s *client.Service, o client.Options, id string, n int) {
	ctx := goContext(t)
	d, err := s.CreateDevice(ctx, client.DeviceIdentity{DeviceID: id})
	if err != nil {
		t.Fatal(err)
	}
	dev, err := client.Connect(ctx, client.DeviceOptions{Options: o, ConnectionString: client.ConnectionString(g.ready.Hub, id, "", d.Authentication)})
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	for i := range n {
		body := bodyOf(id, i)
		m := &causeway.Message{
			Body: []byte(body), ID: strconv.Itoa(i), CorrelationID: "c-" + id, ContentType: "text/plain", ContentEncoding: "utf-8",
			Properties: []causeway.Property{{Key: "n", Value: strconv.Itoa(i)}},
		}
		if err := dev.Send(ctx, m); err != nil {
			t.Fatal(err)
		}
	}
}

func bodyOf(device string, i int) string { return fmt.Sprintf("%s/%d", device, i) }

func (g *goReader) client(t *testing.T, webSocket bool) *azeventhubs.ConsumerClient {
	t.Helper()
	o := &azeventhubs.ConsumerClientOptions{TLSConfig: g.tls, RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1}}
	if webSocket {
		o.NewWebSocketConn = func(ctx context.Context, args azeventhubs.WebSocketConnParams) (net.Conn, error) {
			return dialWebSocket(ctx, args.Host, g.tls)
		}
	}
	c, err := azeventhubs.NewConsumerClientFromConnectionString(g.ready.EventHubsConnectionString, "", azeventhubs.DefaultConsumerGroup, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// dialWebSocket is the function that the SDK's documentation asks for.
func dialWebSocket(ctx context.Context, url string, config *tls.Config) (net.Conn, error) {
	web := newHTTPClient(config)
	conn, res, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"amqp"}, HTTPClient: web})
	if err != nil {
		return nil, err
	}
	if res.Body != nil {
		res.Body.Close()
	}
	return websocket.NetConn(context.Background(), conn, websocket.MessageBinary), nil
}

func (g *goReader) hub(t *testing.T, c *azeventhubs.ConsumerClient) azeventhubs.EventHubProperties {
	t.Helper()
	p, err := c.GetEventHubProperties(goContext(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (g *goReader) partition(t *testing.T, c *azeventhubs.ConsumerClient, id string) azeventhubs.PartitionProperties {
	t.Helper()
	p, err := c.GetPartitionProperties(goContext(t), id, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// open opens a partition at a position.
func (g *goReader) open(t *testing.T, c *azeventhubs.ConsumerClient, id string, o *azeventhubs.PartitionClientOptions) *azeventhubs.PartitionClient {
	t.Helper()
	p, err := c.NewPartitionClient(id, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(context.Background()) })
	return p
}

// collect receives n events.
func collect(t *testing.T, p *azeventhubs.PartitionClient, n int) []*azeventhubs.ReceivedEventData {
	t.Helper()
	ctx := goContext(t)
	var all []*azeventhubs.ReceivedEventData
	for len(all) < n {
		events, err := p.ReceiveEvents(ctx, n-len(all), nil)
		all = append(all, events...)
		if err != nil {
			t.Fatalf("after %d of %d events: %v", len(all), n, err)
		}
	}
	return all
}

// read reads what the hub has stored since the start, and checks the order.
func (g *goReader) read(t *testing.T, c *azeventhubs.ConsumerClient) {
	t.Helper()
	g.parts = map[string][]*posted{}
	seen := map[string]bool{}
	for _, id := range g.hub(t, c).PartitionIDs {
		props := g.partition(t, c, id)
		if props.IsEmpty {
			continue
		}
		p := g.open(t, c, id, &azeventhubs.PartitionClientOptions{StartPosition: azeventhubs.StartPosition{Earliest: ptr(true)}})
		n := int(props.LastEnqueuedSequenceNumber - props.BeginningSequenceNumber + 1)
		last := props.BeginningSequenceNumber - 1
		for _, e := range collect(t, p, n) {
			if e.SequenceNumber != last+1 {
				t.Fatalf("partition %s: sequence number %d after %d", id, e.SequenceNumber, last)
			}
			last = e.SequenceNumber
			if !g.sent[string(e.Body)] {
				continue
			}
			if seen[string(e.Body)] {
				t.Fatalf("%s comes twice", e.Body)
			}
			seen[string(e.Body)] = true
			g.parts[id] = append(g.parts[id], &posted{string(e.Body), e.SequenceNumber, e.Offset, *e.EnqueuedTime})
		}
		if err := p.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !maps.Equal(seen, g.sent) {
		t.Fatalf("%d different bodies were read, %d were sent", len(seen), len(g.sent))
	}
}

// some returns a partition with at least 10 of the events.
func (g *goReader) some() (string, []*posted) {
	id := slices.Sorted(maps.Keys(g.parts))[0]
	return id, g.parts[id]
}

func (g *goReader) properties(t *testing.T) {
	c := g.client(t, false)
	h := g.hub(t, c)
	if h.Name == "" || len(h.PartitionIDs) != 4 || h.CreatedOn.IsZero() || time.Since(h.CreatedOn) > time.Hour || h.GeoReplicationEnabled {
		t.Fatalf("hub: %+v", h)
	}
	for i, id := range h.PartitionIDs {
		p := g.partition(t, c, id)
		if id != strconv.Itoa(i) || p.PartitionID != id || p.EventHubName != h.Name || p.IsEmpty {
			t.Fatalf("partition: %+v", p)
		}
		last := g.parts[id][len(g.parts[id])-1]
		if p.LastEnqueuedSequenceNumber < last.sequence || p.LastEnqueuedOffset == "" || p.LastEnqueuedOn.Before(last.time) {
			t.Fatalf("partition: %+v, but it holds %+v", p, last)
		}
	}
	if _, err := c.GetPartitionProperties(goContext(t), "99", nil); err == nil {
		t.Fatal("a partition that does not exist has properties")
	}
}

func (g *goReader) all(t *testing.T, webSocket bool) {
	c := g.client(t, webSocket)
	for id, want := range g.parts {
		p := g.open(t, c, id, &azeventhubs.PartitionClientOptions{StartPosition: azeventhubs.StartPosition{EnqueuedTime: &g.start, Inclusive: true}})
		got := collect(t, p, len(want))
		for i, e := range got {
			if string(e.Body) != want[i].body || e.SequenceNumber != want[i].sequence || e.Offset != want[i].offset {
				t.Fatalf("partition %s, event %d: %s (%d), want %+v", id, i, e.Body, e.SequenceNumber, want[i])
			}
		}
		e := got[0]
		device := e.SystemProperties["iothub-connection-device-id"]
		if device == nil || *e.MessageID != e.Properties["n"] || e.CorrelationID != fmt.Sprintf("c-%s", device) || *e.ContentType != "text/plain" ||
			e.SystemProperties["iothub-message-source"] != "Telemetry" || *e.RawAMQPMessage.Properties.ContentEncoding != "utf-8" {
			t.Fatalf("event: %+v, %+v", e, e.SystemProperties)
		}
	}
}

func (g *goReader) positions(t *testing.T) {
	c := g.client(t, false)
	id, events := g.some()
	at := events[4]
	cases := []struct {
		name  string
		start azeventhubs.StartPosition
		want  string
	}{
		{"offset", azeventhubs.StartPosition{Offset: &at.offset}, events[5].body},
		{"offset, inclusive", azeventhubs.StartPosition{Offset: &at.offset, Inclusive: true}, at.body},
		{"sequence number", azeventhubs.StartPosition{SequenceNumber: &at.sequence}, events[5].body},
		{"sequence number, inclusive", azeventhubs.StartPosition{SequenceNumber: &at.sequence, Inclusive: true}, at.body},
		{"time", azeventhubs.StartPosition{EnqueuedTime: ptr(at.time.Add(-time.Millisecond))}, first(events, at.time)},
		{"time, inclusive", azeventhubs.StartPosition{EnqueuedTime: &at.time, Inclusive: true}, first(events, at.time)},
	}
	for _, x := range cases {
		t.Run(x.name, func(t *testing.T) {
			p := g.open(t, c, id, &azeventhubs.PartitionClientOptions{StartPosition: x.start})
			if e := collect(t, p, 1)[0]; string(e.Body) != x.want {
				t.Fatalf("first event: %s, want %s", e.Body, x.want)
			}
		})
	}
}

// first returns the first event that was stored in the millisecond of at.
func first(events []*posted, at time.Time) string {
	for _, e := range events {
		if !e.time.Before(at) {
			return e.body
		}
	}
	return ""
}

func (g *goReader) latest(t *testing.T) {
	c := g.client(t, false)
	o := client.Options{RootCAs: g.tls.RootCAs}
	s, err := client.NewService(g.ready.OwnerConnectionString, o)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	// The link of a partition client is made when it is opened.
	got := make(chan string, 16)
	var all sync.WaitGroup
	defer all.Wait()
	ctx, cancel := context.WithCancel(goContext(t))
	defer cancel()
	for id := range g.parts {
		p := g.open(t, c, id, &azeventhubs.PartitionClientOptions{StartPosition: azeventhubs.StartPosition{Latest: ptr(true)}})
		all.Go(func() {
			for ctx.Err() == nil {
				events, _ := p.ReceiveEvents(ctx, 1, nil)
				for _, e := range events {
					got <- string(e.Body)
				}
			}
		})
	}
	// The SDK does not tell when its links stand: send until something has come.
	// From then on nothing is missing.
	id := fmt.Sprintf("go-latest-%d", time.Now().UnixNano())
	for next := ""; ; {
		g.device(t, s, o, id, 3)
		for range 3 {
			select {
			case body := <-got:
				if next != "" && body != next {
					t.Fatalf("event %q, want %q", body, next)
				}
				i := slices.Index([]string{bodyOf(id, 0), bodyOf(id, 1), bodyOf(id, 2)}, body)
				if i < 0 {
					t.Fatalf("event %q", body)
				}
				if next = bodyOf(id, i+1); i == 2 {
					return
				}
			case <-time.After(500 * time.Millisecond):
				if next != "" {
					t.Fatalf("event %q did not come", next)
				}
			case <-ctx.Done():
				t.Fatal("no new event came")
			}
		}
		id += "x"
	}
}

func (g *goReader) batches(t *testing.T) {
	c := g.client(t, false)
	id, events := g.some()
	p := g.open(t, c, id, &azeventhubs.PartitionClientOptions{Prefetch: -1, StartPosition: azeventhubs.StartPosition{SequenceNumber: &events[0].sequence, Inclusive: true}})
	next := events[0].sequence
	for _, n := range []int{1, 3, 6} {
		got := collect(t, p, n)
		for _, e := range got {
			if e.SequenceNumber != next {
				t.Fatalf("sequence number %d, want %d", e.SequenceNumber, next)
			}
			next++
		}
	}
}

func (g *goReader) ownerLevel(t *testing.T) {
	low, high := g.client(t, false), g.client(t, false)
	id, events := g.some()
	start := azeventhubs.StartPosition{SequenceNumber: &events[0].sequence, Inclusive: true}
	one := g.open(t, low, id, &azeventhubs.PartitionClientOptions{OwnerLevel: ptr(int64(1)), StartPosition: start})
	collect(t, one, 1)
	two := g.open(t, high, id, &azeventhubs.PartitionClientOptions{OwnerLevel: ptr(int64(2)), StartPosition: start})
	collect(t, two, 1)
	// What was prefetched may still come; then the old owner learns that it is none.
	ctx := goContext(t)
	for {
		_, err := one.ReceiveEvents(ctx, 100, nil)
		var e *azeventhubs.Error
		if errors.As(err, &e) && e.Code == azeventhubs.ErrorCodeOwnershipLost {
			break
		}
		if err != nil {
			t.Fatalf("the old owner gets %v, want that it has lost the ownership", err)
		}
	}
	collect(t, two, 1)
	// A lower level is refused while the higher one reads.
	late, err := low.NewPartitionClient(id, &azeventhubs.PartitionClientOptions{OwnerLevel: ptr(int64(1)), StartPosition: start})
	if err == nil {
		defer late.Close(context.Background())
		_, err = late.ReceiveEvents(ctx, 1, nil)
	}
	// The SDK has the code for it only once a reader has been let in.
	if err == nil || !strings.Contains(err.Error(), "amqp:link:stolen") {
		t.Fatalf("a reader with a lower owner level: %v", err)
	}
}

func (g *goReader) processor(t *testing.T) {
	store := &checkpoints{}
	seen := map[string]int{}
	// The first run stops in the middle; the second goes on where it was.
	total := 0
	for _, p := range g.parts {
		total += len(p)
	}
	g.process(t, store, seen, total/2)
	if n := len(seen); n < total/2 || n >= total {
		t.Fatalf("the first run saw %d of %d events", n, total)
	}
	g.process(t, store, seen, total)
	for body := range g.sent {
		if seen[body] != 1 {
			t.Errorf("%s was processed %d times", body, seen[body])
		}
	}
}

// process runs a processor until it has seen so many of the events, each of
// which it checkpoints.
func (g *goReader) process(t *testing.T, store *checkpoints, seen map[string]int, until int) {
	t.Helper()
	c := g.client(t, false)
	p, err := azeventhubs.NewProcessor(c, store, &azeventhubs.ProcessorOptions{
		UpdateInterval: 200 * time.Millisecond, LoadBalancingStrategy: azeventhubs.ProcessorStrategyGreedy,
		PartitionExpirationDuration: time.Second,
		StartPositions:              azeventhubs.StartPositions{Default: azeventhubs.StartPosition{EnqueuedTime: &g.start, Inclusive: true}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(goContext(t))
	defer cancel()
	var (
		mu  sync.Mutex
		all sync.WaitGroup
	)
	all.Go(func() {
		if err := p.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("processor: %v", err)
			cancel()
		}
	})
	all.Go(func() {
		for {
			part := p.NextPartitionClient(ctx)
			if part == nil {
				return
			}
			all.Go(func() {
				defer part.Close(context.Background())
				for ctx.Err() == nil {
					wait, stop := context.WithTimeout(ctx, time.Second)
					events, err := part.ReceiveEvents(wait, 5, nil)
					stop()
					mu.Lock()
					for _, e := range events {
						if len(seen) >= until {
							break
						}
						if g.sent[string(e.Body)] {
							seen[string(e.Body)]++
						}
						if err := part.UpdateCheckpoint(context.Background(), e, nil); err != nil {
							t.Error(err)
						}
					}
					if len(seen) >= until {
						cancel()
					}
					mu.Unlock()
					if err != nil && wait.Err() == nil {
						t.Errorf("partition %s: %v", part.PartitionID(), err)
						return
					}
				}
			})
		}
	})
	all.Wait()
}

func (g *goReader) refusals(t *testing.T) {
	ctx := goContext(t)
	o := &azeventhubs.ConsumerClientOptions{TLSConfig: g.tls, RetryOptions: azeventhubs.RetryOptions{MaxRetries: -1}}
	c, err := azeventhubs.NewConsumerClientFromConnectionString(g.ready.EventHubsConnectionString, "", "no-such-group", o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	p, err := c.NewPartitionClient("0", nil)
	if err == nil {
		_, err = p.ReceiveEvents(ctx, 1, nil)
	}
	if err == nil || ctx.Err() != nil {
		t.Errorf("a consumer group that does not exist: %v", err)
	}
	wrong := withKey(g.ready.EventHubsConnectionString, "AAAA")
	c, err = azeventhubs.NewConsumerClientFromConnectionString(wrong, "", azeventhubs.DefaultConsumerGroup, o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(context.Background())
	p, err = c.NewPartitionClient("0", nil)
	if err == nil {
		_, err = p.ReceiveEvents(ctx, 1, nil)
	}
	var e *azeventhubs.Error
	if !errors.As(err, &e) || e.Code != azeventhubs.ErrorCodeUnauthorizedAccess {
		t.Errorf("a wrong key: %v", err)
	}
}

func ptr[T any](v T) *T { return &v }

// checkpoints is a CheckpointStore in memory.
type checkpoints struct {
	mu     sync.Mutex
	points map[string]azeventhubs.Checkpoint
	owners map[string]azeventhubs.Ownership
	etags  int
}

// ClaimOwnership implements [azeventhubs.CheckpointStore].
func (s *checkpoints) ClaimOwnership(_ context.Context, wanted []azeventhubs.Ownership, _ *azeventhubs.ClaimOwnershipOptions) ([]azeventhubs.Ownership, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var claimed []azeventhubs.Ownership
	for _, o := range wanted {
		old, ok := s.owners[o.PartitionID]
		if ok && (o.ETag == nil || *o.ETag != *old.ETag) {
			continue
		}
		s.etags++
		o.ETag, o.LastModifiedTime = ptr(azcore.ETag(strconv.Itoa(s.etags))), time.Now().UTC()
		if s.owners == nil {
			s.owners = map[string]azeventhubs.Ownership{}
		}
		s.owners[o.PartitionID] = o
		claimed = append(claimed, o)
	}
	return claimed, nil
}

// ListCheckpoints implements [azeventhubs.CheckpointStore].
func (s *checkpoints) ListCheckpoints(context.Context, string, string, string, *azeventhubs.ListCheckpointsOptions) ([]azeventhubs.Checkpoint, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.points)), nil
}

// ListOwnership implements [azeventhubs.CheckpointStore].
func (s *checkpoints) ListOwnership(context.Context, string, string, string, *azeventhubs.ListOwnershipOptions) ([]azeventhubs.Ownership, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.owners)), nil
}

// SetCheckpoint implements [azeventhubs.CheckpointStore].
func (s *checkpoints) SetCheckpoint(_ context.Context, c azeventhubs.Checkpoint, _ *azeventhubs.SetCheckpointOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.points == nil {
		s.points = map[string]azeventhubs.Checkpoint{}
	}
	s.points[c.PartitionID] = c
	return nil
}
