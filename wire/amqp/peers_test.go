package amqp_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// peer is a program that speaks AMQP 1.0, as a client or as a server.
type peer struct {
	program string
	args    []string
}

// missing skips a test, and fails it on a machine that must have everything.
func missing(t *testing.T, format string, args ...any) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatalf(format, args...)
	}
	t.Skipf(format, args...)
}

// rhea is the library under Azure's Node SDKs.
func rhea(t *testing.T) peer {
	node, err := exec.LookPath("node")
	if err != nil {
		missing(t, "node is not installed")
	}
	dir := filepath.Join("testdata", "rhea")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "rhea")); err != nil {
		missing(t, "rhea is not installed: run make peers")
	}
	return peer{node, []string{filepath.Join(dir, "peer.mjs")}}
}

// proton is Apache Qpid's.
func proton(t *testing.T) peer {
	for _, name := range []string{"python3", "/usr/bin/python3"} {
		python, err := exec.LookPath(name)
		if err == nil && exec.CommandContext(t.Context(), python, "-c", "import proton").Run() == nil {
			return peer{python, []string{filepath.Join("testdata", "proton", "peer.py")}}
		}
	}
	missing(t, "Debian's python3-qpid-proton is not installed")
	return peer{}
}

func (p peer) command(ctx context.Context, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, p.program, append(p.args, args...)...)
}

// client runs the peer as a client of ours.
func (p peer) client(t *testing.T) {
	addr := listen(t, amqp.Config{Mechanisms: mechanisms(), IdleTimeout: 2 * time.Second}, func() amqp.Handler { return &node{} })
	_, port, _ := net.SplitHostPort(addr)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if out, err := p.command(ctx, "client", port).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// serve runs the peer as a server and returns its address.
func (p peer) serve(t *testing.T) string {
	cmd := p.command(t.Context(), "server")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("no port: %v %s", err, said.String())
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	return net.JoinHostPort("127.0.0.1", strings.TrimSpace(line))
}

func TestRheaClient(t *testing.T) {
	t.Parallel()
	rhea(t).client(t)
}

func TestRheaServer(t *testing.T) {
	t.Parallel()
	dialPeer(t, rhea(t).serve(t), map[string]*amqp.ClientSASL{"PLAIN": amqp.PlainSASL("user", "secret"), "ANONYMOUS": amqp.AnonymousSASL()})
}

func TestProtonClient(t *testing.T) {
	t.Parallel()
	proton(t).client(t)
}

func TestProtonServer(t *testing.T) {
	t.Parallel()
	// Its passwords are those of the system.
	dialPeer(t, proton(t).serve(t), map[string]*amqp.ClientSASL{"ANONYMOUS": amqp.AnonymousSASL(), "none": nil})
}

// message returns a message with a subject, which tells the peer what to do with
// it.
func message(subject, body string) []byte {
	b, err := (&codec.Message{Properties: codec.Properties{Subject: subject}, Body: codec.Data([]byte(body))}).Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// dialPeer talks to a server, once with each of the dialogues.
func dialPeer(t *testing.T, addr string, dialogues map[string]*amqp.ClientSASL) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	connect := func(cfg amqp.Config) (*amqp.Conn, error) {
		var d net.Dialer
		nc, err := d.DialContext(ctx, "tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		cfg.IdleTimeout = 2 * time.Second
		return amqp.Dial(ctx, nc, amqp.Prepare(cfg), nil)
	}
	if _, err := connect(amqp.Config{SASL: amqp.PlainSASL("user", "public")}); !errors.Is(err, amqp.ErrSASL) {
		t.Errorf("a wrong password: %v", err)
	}
	if conn, err := connect(amqp.Config{Hostname: "redirect", SASL: amqp.AnonymousSASL()}); err == nil {
		select {
		case <-conn.Done():
		case <-ctx.Done():
			conn.Abort(ctx.Err())
		}
		if c, ok := errors.AsType[*codec.Condition](conn.Err()); !ok || c.Name != amqp.ConnectionRedirect {
			t.Errorf("the connection is redirected: %v", conn.Err())
		}
	} else if c, ok := errors.AsType[*codec.Condition](err); !ok || c.Name != amqp.ConnectionRedirect {
		t.Errorf("the connection is redirected: %v", err)
	}
	for name, sasl := range dialogues {
		conn, err := connect(amqp.Config{SASL: sasl})
		if err != nil {
			t.Fatal(err)
		}
		talk(ctx, t, conn, name)
	}
}

// talk does with a server what servers are for.
func talk(ctx context.Context, t *testing.T, conn *amqp.Conn, queue string) {
	s, err := conn.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	send := func(mode codec.SenderSettleMode) *amqp.Sender {
		t.Helper()
		snd, err := s.AttachSender(ctx, amqp.LinkConfig{Target: queue, SndSettleMode: mode}, amqp.SenderOptions{Handler: amqp.Outcomes{}})
		if err != nil {
			t.Fatal(err)
		}
		return snd
	}
	// Some answer the attach first as if there were such a node.
	snd, err := s.AttachSender(ctx, amqp.LinkConfig{Target: "nowhere"}, amqp.SenderOptions{})
	for err == nil {
		_, err = snd.Send(ctx, amqp.Transfer{Payload: message("", "")})
	}
	if c, ok := errors.AsType[*codec.Condition](err); !ok || c.Name != amqp.NotFound {
		t.Errorf("a node that is not there: %v", err)
	}
	var none amqp.Inbox
	if _, err = s.AttachReceiver(ctx, amqp.LinkConfig{Source: "nowhere"}, amqp.ReceiverOptions{Handler: &none, Credit: 1}); err == nil {
		_, err = none.Receive(ctx)
	}
	if c, ok := errors.AsType[*codec.Condition](err); !ok || c.Name != amqp.NotFound {
		t.Errorf("a node that is not there: %v", err)
	}
	// Messages of all sizes, many under way at once, come back in order.
	var in amqp.Inbox
	r, err := s.AttachReceiver(ctx, amqp.LinkConfig{Source: queue}, amqp.ReceiverOptions{Handler: &in, Credit: 20, MaxMessageSize: 2 << 20})
	if err != nil {
		t.Fatal(err)
	}
	const count = 150
	body := func(i int) string {
		return strings.Repeat(string(rune('a'+i%26)), []int{0, 1, 100, 2000, 65_000, 300_000}[i%6])
	}
	sent := make(chan error, 1)
	snd = send(codec.SendUnsettled)
	go func() {
		for i := range count {
			if _, err := snd.Send(ctx, amqp.Transfer{Payload: message("", body(i))}); err != nil {
				sent <- fmt.Errorf("send %d: %w", i, err)
				return
			}
		}
		sent <- nil
	}()
	receive := func(want string) {
		t.Helper()
		d, err := in.Receive(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var m codec.Message
		if err := m.Decode(d.Payload); err != nil {
			t.Fatal(err)
		}
		if b, ok := m.Body.Bytes(); !ok || string(b) != want {
			t.Fatalf("%d bytes came back, want %d", len(b), len(want))
		}
		if !d.Settled {
			r.Settle(d.ID, codec.Accepted())
			conn.Push()
		}
	}
	for i := range count {
		receive(body(i))
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	// Outcomes.
	for subject, want := range map[string]codec.Code{"": codec.CodeAccepted, "reject": codec.CodeRejected, "release": codec.CodeReleased} {
		st, err := snd.Deliver(ctx, amqp.Transfer{Payload: message(subject, subject)})
		if err != nil || st.Kind != want {
			t.Errorf("%q: %v, %v", subject, st, err)
		}
		if want == codec.CodeRejected && (st.Error == nil || st.Error.Name != "com.example:no") {
			t.Error(st.Error)
		}
		if want == codec.CodeAccepted {
			receive("")
		}
	}
	if n := snd.Unsettled(); n != 0 {
		t.Errorf("%d are not settled", n)
	}
	// Settled ones.
	settled := send(codec.SendSettled)
	if st, err := settled.Deliver(ctx, amqp.Transfer{Payload: message("", "settled")}); err != nil || st.Kind != codec.CodeAccepted {
		t.Error(st, err)
	}
	receive("settled")
	settled.Close(nil)
	// Cut short: the peer gets all of it, or nothing.
	short, cancel := context.WithCancel(ctx)
	cancel()
	if n, _ := snd.Send(short, amqp.Transfer{Payload: message("", strings.Repeat("x", 1<<20))}); n == 1 {
		receive(strings.Repeat("x", 1<<20))
	}
	if st, err := snd.Deliver(ctx, amqp.Transfer{Payload: message("", "after")}); err != nil || st.Kind != codec.CodeAccepted {
		t.Error(st, err)
	}
	receive("after")
	// A drain.
	select {
	case <-r.Drain():
	case <-ctx.Done():
		t.Error("not drained")
	}
	r.Close(nil)
	if queue == "ANONYMOUS" { // once is enough
		// Heartbeats keep an idle connection alive: both sides give up after 4 s.
		idle := time.NewTimer(5 * time.Second)
		select {
		case <-conn.Done():
			t.Fatalf("the connection ended: %v", conn.Err())
		case <-idle.C:
		}
	}
	// Ends with errors.
	ends := func(subject, want string) {
		t.Helper()
		_, err := snd.Deliver(ctx, amqp.Transfer{Payload: message(subject, "")})
		for err == nil { // it may accept the message before
			_, err = snd.Deliver(ctx, amqp.Transfer{Payload: message("release", "")})
		}
		if c, ok := errors.AsType[*codec.Condition](err); !ok || c.Name != want {
			t.Error(err)
		}
	}
	ends("detach", amqp.DetachForced)
	snd = send(codec.SendUnsettled)
	if err := s.End(nil); err != nil {
		t.Error(err)
	}
	if s, err = conn.Begin(ctx); err != nil {
		t.Fatal(err)
	}
	snd = send(codec.SendUnsettled)
	ends("close", amqp.ConnectionForced)
	<-conn.Done()
	if !errors.Is(conn.Err(), amqp.ErrRemote) {
		t.Error(conn.Err())
	}
}
