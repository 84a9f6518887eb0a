package amqp_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// gated is a handler whose storage does not answer until the gate is opened.
type gated struct {
	amqp.Client
	gate    chan struct{}
	handed  int
	stored  []uint32
	arrived []got
}

func (g *gated) Attach(a *amqp.Attach) error {
	a.Receive(amqp.ReceiverOptions{Handler: g, Credit: 1 << 20})
	return nil
}

func (g *gated) Transfer(r *amqp.Receiver, d amqp.Delivery) {
	g.arrived = append(g.arrived, got{r, d})
	g.handed++
}
func (g *gated) Detached(*amqp.Receiver, error) {}
func (g *gated) Flush(*amqp.Conn) {
	if len(g.arrived) == 0 {
		return
	}
	<-g.gate
	for _, a := range g.arrived {
		g.stored = append(g.stored, binary.BigEndian.Uint32(a.d.Payload))
		a.r.Settle(a.d.ID, codec.Accepted())
	}
	g.arrived = g.arrived[:0]
}

// TestBackpressure sends 10 MB to a server whose storage stands still: the client
// has to wait, and both hold little. Then all is stored, in order and once.
func TestBackpressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const messages, size = 1000, 10 << 10
		here, there := memnet.Pipe("client", "server", 0)
		g := &gated{gate: make(chan struct{})}
		served := amqp.Serve(there, amqp.Prepare(amqp.Config{}), g)
		conn, err := amqp.Dial(t.Context(), here, amqp.Prepare(amqp.Config{}), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		snd, err := s.AttachSender(t.Context(), amqp.LinkConfig{Target: "q"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		before := heap()
		done := make(chan error, 1)
		go func() {
			payload := make([]byte, size)
			for i := range uint32(messages) {
				binary.BigEndian.PutUint32(payload, i)
				if _, err := snd.Send(t.Context(), amqp.Transfer{Payload: payload}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		synctest.Wait()
		if n := snd.Unsettled(); n == 0 || n > 200 {
			t.Errorf("%d messages were taken", n)
		}
		// Each end has 256 KiB that wait, as much again that is being written, a
		// burst that was read, and the network has 64 KiB: in buffers that double.
		if more := heap() - before; more > 2<<20 {
			t.Errorf("%d KiB are held", more>>10)
		}
		close(g.gate)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if n := snd.Unsettled(); n != 0 || len(g.stored) != messages {
			t.Errorf("%d unsettled, %d stored", n, len(g.stored))
		}
		for i, x := range g.stored {
			if x != uint32(i) {
				t.Fatalf("message %d is %d", i, x)
			}
		}
		conn.Close(nil)
		<-conn.Done()
		<-served.Done()
	})
}

// TestNothingIsLeft serves many connections that end in every way, and checks the
// heap.
func TestNothingIsLeft(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	say := dialogue()
	round := func() {
		synctest.Test(t, func(t *testing.T) {
			for i := range 50 {
				here, there := memnet.Pipe("client", "server", 1<<20)
				conn := amqp.Serve(there, amqp.Prepare(amqp.Config{Mechanisms: mechanisms()}), &generous{})
				_, _ = here.Write(say[:len(say)*i/49])
				synctest.Wait()
				here.Close()
				<-conn.Done()
			}
		})
	}
	round()
	before := heap()
	for range 20 {
		round()
	}
	if more := heap() - before; more > 256<<10 {
		t.Errorf("1000 connections have left %d KiB", more>>10)
	}
}

// TestHalfFrames lets many peers send the beginning of a frame and no more: they
// cost as much as they have sent, and little more.
func TestHalfFrames(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const peers = 300
		half := bytes.Clone(codec.AppendFrame(nil, 0, first(0, 0), []byte(strings.Repeat("x", 60_000)))[:20])
		var scripts []*script
		var b []*book
		for range peers {
			k := &book{}
			p, _ := serveOn(t, amqp.Config{}, k, 1<<10)
			scripts, b = append(scripts, p.begin()), append(b, k)
		}
		synctest.Wait()
		before := heap()
		for _, p := range scripts {
			p.raw(half...).write()
		}
		synctest.Wait()
		if each := (heap() - before) / peers; each > 4<<10 {
			t.Errorf("%d bytes for each", each)
		}
		runtime.KeepAlive(b)
	})
}

// TestMessagesDoNotAllocate receives and sends many messages: the memory for it is
// used again and again.
func TestMessagesDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector empties the pools")
	}
	const messages = 20_000
	mallocs := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.Mallocs
	}
	check := func(name string, before uint64) {
		t.Helper()
		// Bursts, buffers that grow, and timers are what is left.
		if n := float64(mallocs()-before) / messages; n > 0.05 {
			t.Errorf("%s: %.2f allocations for a message", name, n)
		}
	}
	cfg := amqp.Config{IncomingWindow: 1 << 20}
	connect := func(h amqp.Handler, attach ...codec.Performative) net.Conn {
		t.Helper()
		nc, err := net.Dial("tcp", listen(t, cfg, func() amqp.Handler { return h }))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		p := &script{t: t, nc: nc, r: codec.NewReader(nc, 1<<20)}
		p.begin().send(0, attach...)
		expect[*codec.Attach](p)
		go func() { _, _ = io.Copy(io.Discard, nc) }()
		return nc
	}

	in := &sink{credit: 1 << 20, want: messages, done: make(chan struct{}), ids: make([]uint32, 0, 2048)}
	done := in.done
	nc := connect(in, sending("l", 0, "q"))
	var say []byte
	for i := range uint32(messages) {
		say = codec.AppendTransfer(say, 0, first(0, i), say[:0:0])
	}
	before := mallocs()
	if _, err := nc.Write(say); err != nil {
		t.Fatal(err)
	}
	<-done
	check("receive", before)

	out := &source{amqp.Client{}, amqp.SenderOptions{Untracked: true}, make(chan *amqp.Sender, 1)}
	f := credit(0, 1<<20)
	f.IncomingWindow = 1 << 20
	connect(out, receiving("l", 0, "s"), f)
	s := <-out.s
	if err := s.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	batch := make([]amqp.Transfer, 100)
	for i := range batch {
		batch[i].Payload = make([]byte, 256)
	}
	before = mallocs()
	for range messages / len(batch) {
		if _, err := s.Send(t.Context(), batch...); err != nil {
			t.Fatal(err)
		}
	}
	check("send", before)
}
