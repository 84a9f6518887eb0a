// Package kafka is the sink that produces messages to a topic of Apache Kafka, or
// of anything that speaks its protocol: Redpanda, Azure Event Hubs.
//
// The key of a record is the device, so that what a device sent stays in order. A
// batch counts as sent when all replicas in sync have each message of it.
package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
	"github.com/causeway-iot/causeway/internal/wire/routed"
	"github.com/causeway-iot/causeway/plugin"
)

// deliveryTimeout is how long a batch is tried; what is tried after that is the
// business of whoever sends. (The client's own limit counts from the time of a
// record, which may have waited for long before.)
const deliveryTimeout = 45 * time.Second

// Sink produces to one topic. Use New.
type Sink struct {
	c      Config
	hub    string
	client *kgo.Client
}

var _ plugin.Batcher = (*Sink)(nil)

// New returns a sink.
func New(c Config, env plugin.Env) (plugin.Sink, error) {
	tc, err := c.tls()
	if err != nil {
		return nil, err
	}
	options := []kgo.Opt{
		kgo.SeedBrokers(c.Brokers...), kgo.ClientID("causeway"), kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(c.codec()),
		kgo.ProducerBatchMaxBytes(int32(c.MaxBytes)), //nolint:gosec // checked
		kgo.Dialer(dialer(env.Dial, tc)),
	}
	if c.Create {
		options = append(options, kgo.AllowAutoTopicCreation())
	}
	if m := c.login(); m != nil {
		options = append(options, kgo.SASL(m))
	}
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, fmt.Errorf("kafka: %w", err)
	}
	return &Sink{c: c, hub: env.Hub, client: client}, nil
}

// dialer opens connections, with TLS when that is configured.
func dialer(dial func(context.Context, string, string) (net.Conn, error), tc *tls.Config) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		nc, err := dial(ctx, network, addr)
		if err != nil || tc == nil {
			return nc, err
		}
		cfg := tc.Clone()
		if cfg.ServerName, _, err = net.SplitHostPort(addr); err != nil {
			cfg.ServerName = addr
		}
		c := tls.Client(nc, cfg)
		if err := c.HandshakeContext(ctx); err != nil {
			_ = nc.Close() // the handshake is the error
			return nil, fmt.Errorf("TLS with %s: %w", addr, err)
		}
		return c, nil
	}
}

// login returns how the brokers know us; nil for not at all.
func (c *Config) login() sasl.Mechanism {
	auth := scram.Auth{User: c.User, Pass: string(c.Password)}
	switch {
	case c.User == "":
		return nil
	case c.Mechanism == "scram-sha-256":
		return auth.AsSha256Mechanism()
	case c.Mechanism == "scram-sha-512":
		return auth.AsSha512Mechanism()
	}
	return plain.Auth{User: c.User, Pass: string(c.Password)}.AsMechanism()
}

func (c *Config) codec() kgo.CompressionCodec {
	switch c.Compression {
	case "gzip":
		return kgo.GzipCompression()
	case "snappy":
		return kgo.SnappyCompression()
	case "lz4":
		return kgo.Lz4Compression()
	case "zstd":
		return kgo.ZstdCompression()
	}
	return kgo.NoCompression()
}

// Batch returns how many messages are produced before they must be acknowledged.
func (s *Sink) Batch() int { return s.c.Batch }

// Close ends all connections.
func (s *Sink) Close() error {
	s.client.Close()
	return nil
}

// Send produces a batch and waits until all of it is acknowledged.
func (s *Sink) Send(ctx context.Context, batch []causeway.Message) error {
	records := make([]*kgo.Record, len(batch))
	place := make(map[*kgo.Record]int, len(batch))
	for i := range batch {
		r, err := s.record(&batch[i])
		if err != nil {
			if i == 0 {
				return plugin.RefusedAt(0, err)
			}
			records = records[:i] // those before it come first
			break
		}
		records[i], place[r] = r, i
	}
	ctx, cancel := context.WithTimeout(ctx, deliveryTimeout)
	defer cancel()
	first, failure := len(batch), error(nil)
	results := make(chan kgo.ProduceResult, len(records)) // room for all: nobody may listen any more
	for _, r := range records {
		s.client.Produce(ctx, r, func(r *kgo.Record, err error) { results <- kgo.ProduceResult{Record: r, Err: err} })
	}
	for range records {
		select {
		case r := <-results:
			if i := place[r.Record]; r.Err != nil && i < first {
				first, failure = i, r.Err
			}
		case <-ctx.Done():
			// What is on its way cannot be called back; it may arrive twice.
			return fmt.Errorf("topic %s: wait for acknowledgements: %w", s.c.Topic, ctx.Err())
		}
	}
	switch {
	case failure == nil && len(records) < len(batch):
		_, err := s.record(&batch[len(records)])
		return plugin.RefusedAt(len(records), err)
	case failure == nil:
		return nil
	case errors.Is(failure, kerr.MessageTooLarge), errors.Is(failure, kerr.InvalidRecord), errors.Is(failure, kerr.RecordListTooLarge):
		return plugin.RefusedAt(first, fmt.Errorf("topic %s: %w", s.c.Topic, failure))
	}
	return plugin.Partly(first, fmt.Errorf("topic %s: %w", s.c.Topic, failure))
}

// record returns what is produced of a message.
func (s *Sink) record(m *causeway.Message) (*kgo.Record, error) {
	r := &kgo.Record{Topic: s.c.Topic, Key: []byte(m.From.Device), Value: m.Body, Timestamp: m.Enqueued}
	if s.c.Payload == PayloadRecord {
		body, err := hubjson.Marshal(routed.NewRecord(m))
		if err != nil {
			return nil, fmt.Errorf("write message as JSON: %w", err)
		}
		r.Value = body
		return r, nil
	}
	header := func(name, value string) {
		if value != "" {
			r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
		}
	}
	header("content-type", m.ContentType)
	header("content-encoding", m.ContentEncoding)
	header("message-id", m.ID)
	header("correlation-id", m.CorrelationID)
	header("iothub-connection-device-id", m.From.Device)
	header("iothub-connection-module-id", m.From.Module)
	header("iothub-connection-auth-method", m.Auth)
	header("iothub-connection-auth-generation-id", m.GenerationID)
	header("iothub-message-source", m.Source)
	header("iothub-message-schema", m.Schema)
	header("dt-dataschema", m.ModelID)
	header("dt-subject", m.Component)
	if !m.Enqueued.IsZero() {
		header("iothub-enqueuedtime", routed.Time(m.Enqueued))
	}
	for _, p := range m.Properties {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: p.Key, Value: []byte(p.Value)})
	}
	return r, nil
}
