package events

import (
	"slices"
	"strings"
	"sync"

	"github.com/causeway-iot/causeway/internal/core/eventlog"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp"
)

// readers knows who reads what, on all connections.
type readers struct {
	mu sync.Mutex
	by map[place][]*reader
}

// place is a partition of an event hub in a consumer group.
type place struct {
	log        eventlog.Log
	hub, group string // the group in lower case
	partition  eventlog.Partition
}

func placeOf(hub string, log eventlog.Log, group string, p eventlog.Partition) place {
	return place{log, hub, strings.ToLower(group), p}
}

// admit adds a reader, or says why it may not read. It returns the readers that
// must go for it, which are not known any more.
//
// A reader with an epoch is alone: it disconnects those without one, and those
// whose epoch is not higher. Who comes while one with a higher epoch reads, or
// without an epoch while one with an epoch does, is refused.
func (rs *readers) admit(r *reader, most int) (stolen []*reader, err error) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	others := rs.by[r.place]
	for _, o := range others {
		switch {
		case o.epoch.OK && !r.epoch.OK:
			return nil, amqp.Refuse(hubamqp.LinkStolen, "a reader with epoch %d reads partition %d in this consumer group: nobody without an epoch may", o.epoch.V, r.place.partition)
		case o.epoch.OK && o.epoch.V > r.epoch.V:
			return nil, amqp.Refuse(hubamqp.LinkStolen, "a reader with epoch %d reads partition %d in this consumer group, which is higher than %d", o.epoch.V, r.place.partition, r.epoch.V)
		}
	}
	if r.epoch.OK {
		stolen, others = others, nil
	}
	if len(others) >= most {
		return nil, amqp.Refuse(hubamqp.ResourceLimit, "%d readers read partition %d in this consumer group, which is the limit", most, r.place.partition)
	}
	if rs.by == nil {
		rs.by = map[place][]*reader{}
	}
	rs.by[r.place] = append(others, r)
	return stolen, nil
}

// of returns who reads events of a hub.
func (rs *readers) of(hub string) []*reader {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var all []*reader
	for p, list := range rs.by {
		if p.hub == hub {
			all = append(all, list...)
		}
	}
	return all
}

// remove forgets a reader, which may be unknown.
func (rs *readers) remove(r *reader) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	left := slices.DeleteFunc(rs.by[r.place], func(o *reader) bool { return o == r })
	if len(left) == 0 {
		delete(rs.by, r.place)
		return
	}
	rs.by[r.place] = left
}
