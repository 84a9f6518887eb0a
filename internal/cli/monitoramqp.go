package cli

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// eventsRoute says by which way events are read.
type eventsRoute struct {
	amqp  bool
	ws    bool
	group string
}

// wanted reports whether they are read by AMQP.
func (r eventsRoute) wanted(connectionString string) bool {
	cs, err := sas.ParseConnectionString(connectionString)
	return r.amqp || r.ws || r.group != "" || err == nil && cs.Endpoint != ""
}

var errEnough = errors.New("the wanted number of events was shown")

// readEvents shows events from the Event Hubs-compatible endpoint.
func (t *target) readEvents(ctx context.Context, r eventsRoute, q client.EventsQuery, begin func(host string), show func(client.Event) error) error {
	o, err := startsOf(q.From)
	if err != nil {
		return err
	}
	e, err := client.NewEvents(client.EventsOptions{
		Options: t.options, ConnectionString: t.connectionString, WebSocket: r.ws, ConsumerGroup: r.group,
	})
	if err != nil {
		return &usageError{err: err}
	}
	defer e.Close()
	h, err := e.Hub(ctx)
	if err != nil {
		return err
	}
	o.Partitions = h.Partitions
	begin(h.Name)
	var mu sync.Mutex // partitions come side by side
	shown := 0
	err = e.Consume(ctx, o, func(_ context.Context, list []client.PartitionEvent) error {
		mu.Lock()
		defer mu.Unlock()
		for i := range list {
			from := &list[i].Message.From
			if q.Device != "" && from.Device != q.Device || q.Module != "" && from.Module != q.Module {
				continue
			}
			if q.Max > 0 && shown == q.Max {
				return errEnough
			}
			x, err := list[i].Event()
			if err != nil {
				return err
			}
			if err := show(x); err != nil {
				return err
			}
			if shown++; q.Max > 0 && shown == q.Max {
				return errEnough
			}
		}
		return nil
	})
	if errors.Is(err, errEnough) {
		return nil
	}
	return err
}

// startsOf reads the flag --from: a word, a time, or sequence numbers such as
// 0:17,1:4. Partitions that are not named begin with the next event.
func startsOf(from string) (client.ConsumeOptions, error) {
	o := client.ConsumeOptions{Reader: client.ReaderOptions{From: client.Latest()}}
	switch strings.ToLower(from) {
	case "", "latest":
		return o, nil
	case "earliest":
		o.Reader.From = client.Earliest()
		return o, nil
	}
	if t, err := time.Parse(time.RFC3339, from); err == nil {
		o.Reader.From = client.FromTime(t)
		return o, nil
	}
	o.Starts = map[string]client.Start{}
	for pair := range strings.SplitSeq(from, ",") {
		p, number, ok := strings.Cut(pair, ":")
		n, err := strconv.ParseUint(number, 10, 63)
		if !ok || p == "" || err != nil {
			return o, usagef("--from is none of latest, earliest, a time such as 2024-01-31T12:00:00Z, and offsets such as 0:17,1:4")
		}
		o.Starts[p] = client.FromSequence(int64(n))
	}
	return o, nil
}
