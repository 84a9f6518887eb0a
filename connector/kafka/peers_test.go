package kafka_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/causeway-iot/causeway/internal/testkit/process"
)

// apache starts an Apache Kafka of its own, of one node, and returns its address.
func apache(t *testing.T) string {
	t.Helper()
	jars, err := filepath.Glob(filepath.Join("testdata", "broker", "target", "dependency", "kafka_*.jar"))
	java, noJava := exec.LookPath("java")
	if err != nil || len(jars) == 0 || noJava != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("Apache Kafka is not here: run make peers, which needs Java and Maven")
		}
		t.Skip("Apache Kafka is not here: run make peers, which needs Java and Maven")
	}
	dir := t.TempDir()
	port, control := strconv.Itoa(process.FreePort(t)), strconv.Itoa(process.FreePort(t))
	properties := filepath.Join(dir, "server.properties")
	text := fmt.Sprintf(`process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:%[2]s
listeners=PLAINTEXT://127.0.0.1:%[1]s,CONTROLLER://127.0.0.1:%[2]s
advertised.listeners=PLAINTEXT://127.0.0.1:%[1]s
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=%[3]s
num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
`, port, control, filepath.Join(dir, "data"))
	if err := os.WriteFile(properties, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	classes, err := filepath.Abs(filepath.Dir(jars[0]))
	if err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, class string, args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, java, append([]string{"-Xmx256m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", filepath.Join(classes, "*"), class}, args...)...)
		cmd.Dir = dir
		return cmd
	}
	if out, err := run(t.Context(), "kafka.tools.StorageTool", "format", "-t", "J7s9e8PPTKOO47PxzI39VA", "-c", properties).CombinedOutput(); err != nil {
		t.Fatalf("format: %v\n%s", err, out)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	server := run(context.WithoutCancel(t.Context()), "kafka.Kafka", properties)
	server.Stdout, server.Stderr = log, log
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = server.Process.Kill()
		_ = server.Wait()
		_ = log.Close()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Log(string(said))
		}
	})
	addr := "127.0.0.1:" + port
	c, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for until := time.Now().Add(90 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		err := c.Ping(ctx)
		cancel()
		if err == nil {
			return addr
		}
		if time.Now().After(until) {
			t.Fatalf("Apache Kafka does not answer: %v", err)
		}
	}
}

// A topic of Apache Kafka gets messages, those of a device in order.
func TestApacheKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a broker")
	}
	sentTo(t, []string{apache(t)}, map[string]any{"createTopic": true})
}
