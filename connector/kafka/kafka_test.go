package kafka_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/connector/kafka"
	"github.com/causeway-iot/causeway/plugin"
	"github.com/causeway-iot/causeway/plugin/plugintest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, settings map[string]any) plugin.Sink {
	t.Helper()
	return plugintest.Open(t, kafka.New, settings, nil, plugin.Env{Hub: "plant", Endpoint: "out"})
}

func batch(first, n int) []causeway.Message {
	var all []causeway.Message
	for i := range n {
		all = append(all, causeway.Message{
			From: causeway.Identity{Hub: "plant", Device: "d" + strconv.Itoa(i%5)}, Body: fmt.Append(nil, first+i), Source: causeway.SourceTelemetry,
			Enqueued: time.Unix(1e9, 0), Properties: []causeway.Property{{Key: "k", Value: "v"}},
		})
	}
	return all
}

// sentTo sends 2000 messages to brokers and reads them back: each device's are in
// order.
func sentTo(t *testing.T, brokers []string, settings map[string]any) {
	t.Helper()
	settings["brokers"], settings["topic"] = brokers, "telemetry"
	s := open(t, settings)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 4 {
		if err := s.Send(ctx, batch(i*500, 500)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics("telemetry"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	last := map[string]int{}
	for n := 0; n < 2000; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d: %v", n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			n++
			v, err := strconv.Atoi(string(r.Value))
			if at, ok := last[string(r.Key)]; err != nil || ok && v != at+5 || "d"+strconv.Itoa(v%5) != string(r.Key) {
				t.Fatalf("record %s of %s after %d: %v", r.Value, r.Key, at, err)
			}
			last[string(r.Key)] = v
			headers := map[string]string{}
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			if headers["k"] != "v" || headers["iothub-connection-device-id"] != string(r.Key) {
				t.Fatalf("headers %v", headers)
			}
		})
	}
}

func fake(t *testing.T, o ...kfake.Opt) *kfake.Cluster {
	t.Helper()
	c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(3, "telemetry")}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestProduces(t *testing.T) {
	for _, compression := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		sentTo(t, fake(t).ListenAddrs(), map[string]any{"compression": compression})
	}
}

func TestRecords(t *testing.T) {
	c := fake(t)
	s := open(t, map[string]any{"brokers": c.ListenAddrs(), "topic": "telemetry", "payload": "record"})
	if err := s.Send(t.Context(), batch(0, 1)); err != nil {
		t.Fatal(err)
	}
	r, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.ConsumeTopics("telemetry"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var got struct{ Properties map[string]string }
	r.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) {
		if err := json.Unmarshal(r.Value, &got); err != nil {
			t.Errorf("%s: %v", r.Value, err)
		}
	})
	if got.Properties["k"] != "v" {
		t.Errorf("%+v", got)
	}
}

func TestConcurrent(t *testing.T) {
	s := open(t, map[string]any{"brokers": fake(t).ListenAddrs(), "topic": "telemetry"})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 10 {
				if err := s.Send(t.Context(), batch(0, 50)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

func TestFailures(t *testing.T) {
	for code, permanent := range map[int16]bool{kerr.MessageTooLarge.Code: true, kerr.InvalidRecord.Code: true, kerr.TopicAuthorizationFailed.Code: false, kerr.UnknownServerError.Code: false} {
		c := fake(t)
		c.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
			c.KeepControl()
			p := req.(*kmsg.ProduceRequest)
			res := p.ResponseKind().(*kmsg.ProduceResponse)
			for _, topic := range p.Topics {
				rt := kmsg.NewProduceResponseTopic()
				rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
				for _, part := range topic.Partitions {
					rp := kmsg.NewProduceResponseTopicPartition()
					rp.Partition, rp.ErrorCode = part.Partition, code
					rt.Partitions = append(rt.Partitions, rp)
				}
				res.Topics = append(res.Topics, rt)
			}
			return res, nil, true
		})
		s := open(t, map[string]any{"brokers": c.ListenAddrs(), "topic": "telemetry"})
		if f := plugin.FailureOf(s.Send(t.Context(), batch(0, 1))); f.Err == nil || f.Permanent != permanent {
			t.Errorf("%v: %+v", kerr.ErrorForCode(code), f)
		}
	}
}

func TestUnreachable(t *testing.T) {
	s := open(t, map[string]any{"brokers": []string{"127.0.0.1:1"}, "topic": "telemetry"})
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if f := plugin.FailureOf(s.Send(ctx, batch(0, 1))); f.Err == nil || f.Permanent {
		t.Errorf("%+v", f)
	}
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s = open(t, map[string]any{"brokers": fake(t).ListenAddrs(), "topic": "elsewhere"})
	if f := plugin.FailureOf(s.Send(ctx, batch(0, 1))); f.Err == nil || f.Permanent || !strings.Contains(f.Error(), "elsewhere") {
		t.Errorf("%+v", f)
	}
	_ = s.Close()
	if err := s.Send(t.Context(), batch(0, 1)); err == nil {
		t.Error("sent after Close")
	}
}

var badInput = []struct{ name, settings, says string }{
	{"Kafka endpoint without brokers", `{"topic":"t"}`, `"brokers" is missing`},
	{"Kafka endpoint with no brokers", `{"brokers":[],"topic":"t"}`, "1 to 32"},
	{"Kafka endpoint with a broker without a port", `{"brokers":["x"],"topic":"t"}`, "host and a port"},
	{"Kafka endpoint with brokers that are text", `{"brokers":"x:1","topic":"t"}`, "must be a list"},
	{"Kafka endpoint without a topic", `{"brokers":["x:1"]}`, `"topic" is missing`},
	{"Kafka endpoint with a topic that is none", `{"brokers":["x:1"],"topic":"a/b"}`, "249"},
	{"Kafka endpoint with an unknown compression", `{"brokers":["x:1"],"topic":"t","compression":"rar"}`, "zstd"},
	{"Kafka endpoint with an unknown mechanism", `{"brokers":["x:1"],"topic":"t","mechanism":"x"}`, "scram-sha-512"},
	{"Kafka endpoint with a user without password", `{"brokers":["x:1"],"topic":"t","user":"u"}`, "go together"},
	{"Kafka endpoint with an authority and no TLS", `{"brokers":["x:1"],"topic":"t","caCertificates":"x"}`, "set tls"},
	{"Kafka endpoint with batches of none", `{"brokers":["x:1"],"topic":"t","batch":0}`, "1 to 1000"},
	{"Kafka endpoint with batches of a few bytes", `{"brokers":["x:1"],"topic":"t","maxBytes":1}`, "1024"},
}

func TestBadInput(t *testing.T) {
	r := &plugin.Registry{}
	plugin.AddSink(r, "kafka", "", kafka.New)
	for _, row := range badInput {
		t.Run(row.name, func(t *testing.T) {
			if err := r.Check("kafka", json.RawMessage(row.settings), nil); err == nil || !strings.Contains(err.Error(), row.says) {
				t.Errorf("error %v, want …%s…", err, row.says)
			}
		})
	}
}
