package swtpm_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway/internal/testkit/swtpm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// getRandom asks for eight random bytes.
var getRandom = []byte{0x80, 0x01, 0, 0, 0, 12, 0, 0, 0x01, 0x7B, 0, 8}

func start(t *testing.T) *swtpm.TPM {
	t.Helper()
	if why := swtpm.Missing(); why != "" {
		if os.Getenv("CI") == "1" {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	tpm, err := swtpm.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := tpm.Close(); err != nil {
			t.Error(err)
		}
	})
	return tpm
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// ask sends bytes and reads as many as want has.
func ask(t *testing.T, c net.Conn, request []byte, n int) []byte {
	t.Helper()
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func dial(t *testing.T, l net.Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestServe asks the TPM in the protocol of the simulator, and directly.
func TestServe(t *testing.T) {
	tpm := start(t)
	commands, platform := listen(t), listen(t)
	tpm.ServeSimulator(commands, platform)

	c := dial(t, commands)
	if got := ask(t, c, []byte{0, 0, 0, 15, 0, 0, 0, 1}, 12); !bytes.Equal(got, []byte{0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0}) {
		t.Errorf("handshake: %x", got)
	}
	p := dial(t, platform)
	for _, signal := range []byte{1, 11} {
		if got := ask(t, p, []byte{0, 0, 0, signal}, 4); !bytes.Equal(got, make([]byte, 4)) {
			t.Errorf("signal %d: %x", signal, got)
		}
	}
	got := ask(t, c, append([]byte{0, 0, 0, 8, 0, 0, 0, 0, 12}, getRandom...), 4+20+4)
	if binary.BigEndian.Uint32(got) != 20 || binary.BigEndian.Uint32(got[10:]) != 0 || binary.BigEndian.Uint32(got[24:]) != 0 {
		t.Errorf("random bytes: %x", got)
	}
	// What is no request ends the connection, and nothing else.
	for what, request := range map[string][]byte{"code": {0, 0, 0, 99}, "size": {0, 0, 0, 8, 0, 0xFF, 0, 0, 0}} {
		c := dial(t, commands)
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if n, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("%s: %d bytes come back", what, n)
		}
	}
	if _, err := tpm.Command(getRandom); err != nil {
		t.Error(err)
	}
	for what, f := range map[string]func() error{"clear": tpm.Clear, "renew": tpm.Renew, "restart": tpm.Restart} {
		if err := f(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}
