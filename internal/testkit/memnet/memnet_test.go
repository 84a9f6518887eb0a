package memnet_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway/internal/testkit/memnet"
)

func dial(t *testing.T, l *memnet.Listener) (client, server net.Conn) {
	t.Helper()
	client, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = client.Close(), server.Close() })
	return client, server
}

func TestTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("hub")
		l.Buffer = 10
		client, server := dial(t, l)
		want := bytes.Repeat([]byte("0123456789abc"), 1000)
		go func() {
			if n, err := client.Write(want); n != len(want) || err != nil {
				t.Errorf("wrote %d: %v", n, err)
			}
			_ = client.Close()
		}()
		got, err := io.ReadAll(server)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes: %v", len(got), err)
		}
		if client.LocalAddr().String() != server.RemoteAddr().String() || server.LocalAddr().String() != "hub" || client.LocalAddr().Network() != "mem" {
			t.Error("addresses do not match")
		}
	})
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("hub")
		l.Buffer = 1
		client, server := dial(t, l)
		begin := time.Now()
		_ = client.SetReadDeadline(begin.Add(3 * time.Second))
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 3*time.Second {
			t.Errorf("read: %v after %v", err, time.Since(begin))
		}
		var ne net.Error
		if _, err := client.Read(make([]byte, 1)); !errors.As(err, &ne) || !ne.Timeout() {
			t.Errorf("read after the deadline: %v", err)
		}
		// A deadline that is moved counts for the read under way.
		_ = client.SetReadDeadline(time.Time{})
		begin = time.Now()
		go func() {
			time.Sleep(time.Second) //nolint:forbidigo // simulated time
			_ = client.SetReadDeadline(time.Now().Add(time.Second))
		}()
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != 2*time.Second {
			t.Errorf("moved deadline: %v after %v", err, time.Since(begin))
		}
		// And after a deadline passed, a new one makes the end usable again.
		_ = client.SetReadDeadline(time.Time{})
		if _, err := server.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		if n, err := client.Read(make([]byte, 1)); n != 1 || err != nil {
			t.Errorf("read after reset: %d, %v", n, err)
		}
		begin = time.Now()
		_ = server.SetDeadline(begin.Add(time.Second))
		if n, err := server.Write([]byte("yz")); n != 1 || !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(begin) != time.Second {
			t.Errorf("write: %d, %v after %v", n, err, time.Since(begin))
		}
	})
}

func TestClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("hub")
		client, server := dial(t, l)
		go func() {
			synctest.Wait()
			_ = server.Close()
		}()
		if _, err := server.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
			t.Errorf("own close: %v", err)
		}
		if _, err := client.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("other end's close: %v", err)
		}
		if _, err := client.Write([]byte("x")); err == nil {
			t.Error("write to a closed end succeeded")
		}
		if _, err := server.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
			t.Errorf("write on a closed end: %v", err)
		}
	})
}

func TestListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memnet.Listen("hub")
		waiting, err := l.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := waiting.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a connection nobody accepted: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("accept: %v", err)
		}
		if _, err := l.Dial(t.Context()); !errors.Is(err, memnet.ErrRefused) {
			t.Errorf("dial: %v", err)
		}

		full := memnet.Listen("full")
		for range memnet.Backlog {
			if _, err := full.Dial(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := full.Dial(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("dial beyond the backlog: %v", err)
		}
		_ = full.Close()
	})
}

func TestReadNowAndWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := memnet.Pipe("c", "s", 0)
		buf := make([]byte, 4)
		if n, err := server.ReadNow(buf); n != 0 || err != nil {
			t.Errorf("nothing has arrived: %d, %v", n, err)
		}
		_ = server.SetReadDeadline(time.Now().Add(time.Second))
		if err := server.Wait(); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("wait: %v", err)
		}
		_ = server.SetReadDeadline(time.Time{})
		time.AfterFunc(time.Second, func() { _, _ = client.Write([]byte("hello")) })
		if err := server.Wait(); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"hell", "o", ""} {
			if n, err := server.ReadNow(buf); string(buf[:n]) != want || err != nil {
				t.Errorf("read %q, %v", buf[:n], err)
			}
		}
		_ = client.Close()
		if err := server.Wait(); err != nil {
			t.Error(err)
		}
		if _, err := server.ReadNow(buf); err != io.EOF {
			t.Errorf("at the end: %v", err)
		}
		_ = server.Close()
		if err := server.Wait(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("wait on a closed end: %v", err)
		}
	})
}
