package dps

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"
)

// choice is the place that a device goes to.
type choice struct {
	link   Link
	device string // its id there
	// noted is whether what is stored of the registration says so already.
	noted   bool
	weighed bool // it was chosen among hubs by how they fare
	custom  bool // a webhook chose it
	payload json.RawMessage
	twin    InitialTwin // that the webhook gave
}

// place is where c puts a device.
func (c *choice) place() Place { return Place{c.link.Host, c.device} }

// choose decides to which hub a device goes, and says why. What was decided before an
// interruption is not decided again. Unless it may ask a webhook it fails with errAsks
// when it must.
func (s *Service) choose(ctx context.Context, t *tenant, e *Enrollment, r *Registration, why *Why, a attempt) (choice, error) {
	if why.Policy = e.Allocation; why.Policy == "" {
		why.Policy = t.Allocation
	}
	if at := r.Pending.Chosen; a.again && at.Hub != "" {
		if l, ok := t.Link(at.Hub); ok {
			why.Reason = "it was chosen before an interruption"
			return choice{link: l, device: at.DeviceID, noted: true, payload: r.Payload, twin: r.Twin}, nil
		}
	}
	c := choice{device: cmp.Or(e.DeviceID, r.ID)}
	if r.Hub != "" && e.Keep {
		if l, ok := t.Link(r.Hub); ok {
			why.Reason = "the enrollment keeps devices on their hub"
			c.link, c.noted = l, true
			return c, nil
		}
	}
	links := t.candidates(e)
	if len(links) == 0 {
		why.Reason = "no linked hub takes it"
		return c, &failure{code: FailedNoHub, msg: "no hub is linked to the provisioning service that takes the device"}
	}
	if why.Policy == Custom && !a.mayAsk {
		return c, errAsks
	}
	if why.Policy == GeoLatency {
		why.Region = t.Geo.region(r.Pending.Remote)
	}
	usable := s.weigh(t, links, r, why)
	switch why.Policy {
	case Custom:
		err := s.custom(ctx, t, e, r, links, &c, why)
		return c, err
	case Static:
		why.Reason = "the first hub of the list"
		c.link = links[0]
		return c, nil
	}
	why.Reason = "by the hash of the registration id and the weights of hubs"
	if why.Policy == GeoLatency && why.Region != "" {
		usable = t.Geo.nearest(usable, why.Region)
		why.Reason = "the lowest latency from the region of the device"
		if len(usable) > 1 {
			why.Reason += ", then by the hash of the registration id"
		}
	}
	c.link, c.weighed = hashed(usable, r.ID), true
	return c, nil
}

// foresee notes in a registration that is about to be stored where its device goes, if
// that can be told without asking anybody: nothing else needs to be stored before a hub
// is called then.
func (s *Service) foresee(ctx context.Context, t *tenant, e *Enrollment, r *Registration) {
	c, err := s.choose(ctx, t, e, r, &Why{}, attempt{})
	if err != nil || c.noted {
		return // what is wrong is said when its turn comes
	}
	r.Pending.Chosen, r.Payload, r.Twin = c.place(), nil, InitialTwin{}
}

// weigh returns the hubs that a device may go to now: those that are healthy, or
// all of them when none is. A device that has a hub already is not driven from it
// by that hub's trouble: it could not take its twin along.
func (s *Service) weigh(t *tenant, links []Link, r *Registration, why *Why) (usable []Link) {
	now := time.Now()
	for _, l := range links {
		c := Candidate{Host: l.Host, Weight: max(1, l.Weight), Region: l.Region, Latency: -1}
		if d := t.Geo.latency(why.Region, l.Region); d != far {
			c.Latency = d
		}
		if c.Unhealthy = !s.HubHealth(l.Host).Healthy; r.Hub != "" || s.health.usable(l.Host, now) {
			usable = append(usable, l)
		}
		why.Candidates = append(why.Candidates, c)
	}
	if len(usable) == 0 {
		return links
	}
	return usable
}

// candidates returns the hubs that an enrollment chooses from: those it names, in
// its order, or all that take part in allocations.
func (i *Instance) candidates(e *Enrollment) (links []Link) {
	if len(e.Hubs) > 0 {
		for _, h := range e.Hubs {
			if l, ok := i.Link(h); ok {
				links = append(links, l)
			}
		}
		return links
	}
	for _, l := range i.Links {
		if !l.Excluded {
			links = append(links, l)
		}
	}
	return links
}

// hashed returns the hub that a registration id belongs to, by weighted
// rendezvous hashing: each gets its share of the devices, and one more hub takes
// over its share and moves no other.
func hashed(links []Link, id string) Link {
	best := slices.MaxFunc(links, func(a, b Link) int {
		x, y := score(a, id), score(b, id)
		switch {
		case x < y:
			return -1
		case x > y:
			return 1
		}
		return strings.Compare(a.Host, b.Host)
	})
	return best
}

func score(l Link, id string) float64 {
	sum := sha256.Sum256([]byte(l.Host + "\x00" + fold(id)))
	// Uniform within (0, 1).
	u := (float64(binary.BigEndian.Uint64(sum[:])>>11) + 0.5) / (1 << 53)
	return -float64(max(1, l.Weight)) / math.Log(u)
}
