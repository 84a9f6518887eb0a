package amqp_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	goamqp "github.com/Azure/go-amqp"

	sink "github.com/causeway-iot/causeway/connector/amqp"
	"github.com/causeway-iot/causeway/internal/testkit/process"
	"github.com/causeway-iot/causeway/wire/amqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// rabbit starts a RabbitMQ of its own with the plug-in for AMQP 1.0 and returns
// its address.
func rabbit(t *testing.T) string {
	t.Helper()
	const program = "/usr/lib/rabbitmq/bin/rabbitmq-server"
	if _, err := os.Stat(program); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("RabbitMQ is not installed")
	}
	dir := t.TempDir()
	port, dist, epmd := strconv.Itoa(process.FreePort(t)), strconv.Itoa(process.FreePort(t)), strconv.Itoa(process.FreePort(t))
	plugins := filepath.Join(dir, "plugins")
	if err := os.WriteFile(plugins, []byte("[rabbitmq_amqp1_0]."), 0o600); err != nil {
		t.Fatal(err)
	}
	// The daemon that Erlang finds nodes with: ours, so that it ends with us.
	names := exec.Command("epmd", "-port", epmd) //nolint:noctx // ended below
	if err := names.Start(); err != nil {
		t.Skipf("epmd: %v", err)
	}
	server := exec.Command(program) //nolint:noctx // ended below, with what it starts
	server.Env = append(os.Environ(), "HOME="+dir, "RABBITMQ_NODENAME=r"+port+"@localhost", "RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_NODE_PORT="+port,
		"RABBITMQ_DIST_PORT="+dist, "ERL_EPMD_PORT="+epmd, "RABBITMQ_MNESIA_BASE="+dir, "RABBITMQ_LOG_BASE="+dir, "RABBITMQ_LOGS=-",
		"RABBITMQ_ENABLED_PLUGINS_FILE="+plugins, "RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "none"), "RABBITMQ_PID_FILE="+filepath.Join(dir, "pid"))
	server.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server.Stdout, server.Stderr = said, said
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(-server.Process.Pid, syscall.SIGKILL) // the whole group, which is ours
		_ = server.Wait()
		_ = names.Process.Kill()
		_ = names.Wait()
		_ = said.Close()
		if t.Failed() {
			text, _ := os.ReadFile(said.Name())
			t.Log(string(text))
		}
	})
	addr := "127.0.0.1:" + port
	for until := time.Now().Add(90 * time.Second); ; {
		c, err := goamqp.Dial(t.Context(), "amqp://"+addr, &goamqp.ConnOptions{SASLType: goamqp.SASLTypePlain("guest", "guest")})
		if err == nil {
			_ = c.Close()
			return addr
		}
		if time.Now().After(until) {
			t.Fatalf("RabbitMQ does not answer: %v", err)
		}
		select {
		case <-time.After(300 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

// A queue of RabbitMQ gets messages, in order, and a client of AMQP 1.0 reads
// them there.
func TestRabbitMQ(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker")
	}
	addr := rabbit(t)
	s := open(t, sink.Config{URL: "amqp://" + addr, Address: "/queue/telemetry", User: "guest", Password: "guest"})
	for i := range 5 {
		if err := s.Send(t.Context(), batch(i*200, 200)); err != nil {
			t.Fatal(err)
		}
	}
	nc, err := net.Dial("tcp", addr) //nolint:noctx // this machine
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c, err := amqp.Dial(ctx, nc, amqp.Prepare(amqp.Config{SASL: amqp.PlainSASL("guest", "guest")}), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		c.Close(nil)
		<-c.Done()
	}()
	session, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var inbox amqp.Inbox
	r, err := session.AttachReceiver(ctx, amqp.LinkConfig{Source: "/queue/telemetry"}, amqp.ReceiverOptions{Handler: &inbox, Credit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		d, err := inbox.Receive(ctx)
		if err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
		var m codec.Message
		if err := m.Decode(d.Payload); err != nil {
			t.Fatal(err)
		}
		body, _ := m.Body.Bytes()
		k, _ := m.ApplicationProperties.Lookup("k")
		device, _ := m.ApplicationProperties.Lookup("iothub-connection-device-id")
		kt, _ := k.Text()
		dt, _ := device.Text()
		if string(body) != fmt.Sprint(i) || kt != "v" || dt != "d" {
			t.Fatalf("message %d: %s %s %s", i, body, kt, dt)
		}
		r.Settle(d.ID, codec.Accepted())
		c.Push()
	}
}
