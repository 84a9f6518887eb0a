package amqp_test

import (
	"context"
	"net"
	"runtime"
	"testing"

	goamqp "github.com/Azure/go-amqp"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

const benchPayload = 256

// sink accepts all that arrives, in bursts.
type sink struct {
	amqp.Client
	ids    []uint32
	r      *amqp.Receiver
	n      int
	credit uint32 // 5000 by default
	want   int
	done   chan struct{}
}

func (s *sink) Attach(a *amqp.Attach) error {
	if s.credit == 0 {
		s.credit = 5000
	}
	s.r = a.Receive(amqp.ReceiverOptions{Handler: s, Credit: s.credit})
	return nil
}

func (s *sink) Transfer(_ *amqp.Receiver, d amqp.Delivery) {
	s.n++
	if !d.Settled {
		s.ids = append(s.ids, d.ID)
	}
}
func (s *sink) Detached(*amqp.Receiver, error) {}
func (s *sink) Flush(*amqp.Conn) {
	for _, id := range s.ids {
		s.r.Settle(id, codec.Accepted())
	}
	s.ids = s.ids[:0]
	if s.n >= s.want && s.done != nil {
		close(s.done)
		s.done = nil
	}
}

// rawPeer returns a network connection to a server, that was begun by frames.
func rawPeer(b *testing.B, h amqp.Handler, attach ...codec.Performative) (net.Conn, *codec.Reader) {
	b.Helper()
	nc, err := net.Dial("tcp", listen(b, amqp.Config{}, func() amqp.Handler { return h }))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { nc.Close() })
	p := &script{t: b, nc: nc, r: codec.NewReader(nc, 1<<20)}
	p.begin().send(0, attach...)
	expect[*codec.Attach](p)
	return nc, p.r
}

// BenchmarkReceive receives messages of 256 bytes from a peer that sends as fast
// as it can, and settles them in bursts.
func BenchmarkReceive(b *testing.B) {
	for _, settled := range []bool{false, true} {
		name := "unsettled"
		if settled {
			name = "settled"
		}
		b.Run(name, func(b *testing.B) {
			s := &sink{want: b.N, done: make(chan struct{})}
			done := s.done
			nc, r := rawPeer(b, s, sending("l", 0, "q"))
			credit := make(chan uint32, 1000) // up to which message
			go func() {
				link := uint32(0)
				for {
					f, err := r.Next()
					if err != nil {
						close(credit)
						return
					}
					var m codec.Flow
					if code, _ := f.Code(); code == codec.CodeFlow {
						if _, err := f.Decode(&m); err != nil {
							b.Error(err)
						}
						if m.Handle.OK {
							link = m.DeliveryCount.V + m.LinkCredit.V
						}
						credit <- min(link, m.NextIncomingID.V+m.IncomingWindow)
					}
				}
			}()
			payload := make([]byte, benchPayload)
			b.ReportAllocs()
			b.SetBytes(benchPayload)
			b.ResetTimer()
			go func() {
				var buf []byte
				to := uint32(0)
				for i := uint32(0); i < uint32(b.N); {
					for i >= to {
						var ok bool
						if to, ok = <-credit; !ok {
							return
						}
					}
					buf = buf[:0]
					for ; i < to && i < uint32(b.N) && len(buf) < 64<<10; i++ {
						m := codec.Transfer{DeliveryID: codec.Some(i), DeliveryTag: payload[:4], MessageFormat: codec.Some(uint32(0)), Settled: codec.Some(settled)}
						buf = codec.AppendTransfer(buf, 0, &m, payload)
					}
					if _, err := nc.Write(buf); err != nil {
						return
					}
				}
			}()
			<-done
		})
	}
}

// source grants one link to send on.
type source struct {
	amqp.Client
	o amqp.SenderOptions
	s chan *amqp.Sender
}

func (s *source) Attach(a *amqp.Attach) error {
	s.s <- a.Send(s.o)
	return nil
}

// BenchmarkSend sends messages of 256 bytes, 100 at once, to a peer that reads as
// fast as it can, gives credit, and settles what is not settled.
func BenchmarkSend(b *testing.B) {
	for _, settled := range []bool{false, true} {
		name := "unsettled"
		if settled {
			name = "settled"
		}
		b.Run(name, func(b *testing.B) {
			h := &source{amqp.Client{}, amqp.SenderOptions{Handler: amqp.Outcomes{}, Unsettled: 5000}, make(chan *amqp.Sender, 1)}
			nc, r := rawPeer(b, h, receiving("l", 0, "s"))
			s := <-h.s
			flow := func(n uint32) {
				f := credit(0, 10_000)
				f.NextIncomingID, f.DeliveryCount, f.IncomingWindow = codec.Some(n), codec.Some(n), 10_000
				out := codec.AppendFrame(nil, 0, f, nil)
				if n > 0 && !settled {
					out = codec.AppendFrame(out, 0, &codec.Disposition{Role: codec.Receiver, First: n - 1000, Last: codec.Some(n - 1), Settled: true, State: codec.Accepted()}, nil)
				}
				if _, err := nc.Write(out); err != nil {
					b.Error(err)
				}
			}
			flow(0)
			done := make(chan struct{})
			go func() {
				defer close(done)
				for n := uint32(0); n < uint32(b.N); {
					f, err := r.Next()
					if err != nil {
						b.Error(err)
						return
					}
					if code, _ := f.Code(); code != codec.CodeTransfer {
						continue
					}
					if n++; n%1000 == 0 {
						flow(n)
					}
				}
			}()
			batch := make([]amqp.Transfer, 100)
			for i := range batch {
				batch[i] = amqp.Transfer{Payload: make([]byte, benchPayload), Settled: settled}
			}
			b.ReportAllocs()
			b.SetBytes(benchPayload)
			b.ResetTimer()
			for n := 0; n < b.N; n += len(batch) {
				if _, err := s.Send(context.Background(), batch[:min(len(batch), b.N-n)]...); err != nil {
					b.Fatal(err)
				}
			}
			<-done
		})
	}
}

// BenchmarkDeliver sends one message after the other, and waits for the outcome
// of each.
func BenchmarkDeliver(b *testing.B) {
	nc, err := net.Dial("tcp", listen(b, amqp.Config{}, func() amqp.Handler { return &sink{} }))
	if err != nil {
		b.Fatal(err)
	}
	conn, err := amqp.Dial(b.Context(), nc, amqp.Prepare(amqp.Config{}), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() {
		conn.Abort(nil)
		<-conn.Done()
	}()
	s, err := conn.Begin(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	snd, err := s.AttachSender(b.Context(), amqp.LinkConfig{Target: "q"}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
	if err != nil {
		b.Fatal(err)
	}
	m := amqp.Transfer{Payload: make([]byte, benchPayload)}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := snd.Deliver(b.Context(), m); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGoAMQPSend is the same with go-amqp as the client.
func BenchmarkGoAMQPSend(b *testing.B) {
	ctx := b.Context()
	conn, err := goamqp.Dial(ctx, "amqp://"+listen(b, amqp.Config{}, func() amqp.Handler { return &sink{} }), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	s, err := conn.NewSession(ctx, nil)
	if err != nil {
		b.Fatal(err)
	}
	snd, err := s.NewSender(ctx, "q", nil)
	if err != nil {
		b.Fatal(err)
	}
	m := goamqp.NewMessage(make([]byte, benchPayload))
	b.ReportAllocs()
	for b.Loop() {
		if err := snd.Send(ctx, m, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkIdle reports what a connection costs the server while it idles, with
// one session and eight links, on a socket without TLS: bytes of heap, and of
// stacks once its reader is parked. What two sockets cost is taken off.
func BenchmarkIdle(b *testing.B) {
	const conns = 500
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	cfg, h := amqp.Prepare(amqp.Config{}), &generous{}
	var sockets []net.Conn
	defer func() {
		for _, nc := range sockets {
			nc.Close()
		}
	}()
	pair := func() (here, there net.Conn) {
		here, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		if there, err = l.Accept(); err != nil {
			b.Fatal(err)
		}
		sockets = append(sockets, here, there)
		return here, there
	}
	memory := func() (heap, stack float64) {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return float64(m.HeapAlloc) / conns, float64(m.StackInuse) / conns
	}
	served := make([]*amqp.Conn, 0, conns)
	serve := func() {
		here, there := pair()
		served = append(served, amqp.Serve(there, cfg, h))
		p := &script{t: b, nc: here, r: codec.NewReader(here, 4096)}
		p.begin()
		for i := range uint32(4) {
			p.add(0, sending(string(rune('a'+i)), 2*i, "q"), receiving(string(rune('a'+i)), 2*i+1, "s"))
		}
		p.write()
		for range 8 {
			expect[*codec.Attach](p)
		}
		p.send(0, first(0, 0))
		expect[*codec.Disposition](p)
	}
	for b.Loop() {
		heap0, _ := memory()
		for range conns {
			pair()
		}
		heap1, stack1 := memory()
		for range conns {
			serve()
		}
		for _, c := range served {
			c.Park()
		}
		heap2, stack2 := memory()
		for range 100 { // stacks shrink when they are looked at
			if stack2-stack1 < 2500 {
				break
			}
			heap2, stack2 = memory()
		}
		b.ReportMetric(heap2-heap1-(heap1-heap0), "heap-B/conn")
		b.ReportMetric(stack2-stack1, "stack-B/conn")
		for _, nc := range sockets {
			nc.Close()
		}
		for _, c := range served {
			<-c.Done()
		}
		sockets, served = nil, served[:0]
	}
}
