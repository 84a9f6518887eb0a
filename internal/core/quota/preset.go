package quota

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/causeway-iot/causeway"
)

// Settings say what a hub is held to. They are kept with the hub.
type Settings struct {
	// Preset is the edition whose limits the hub has: "free", "basic-b1" to
	// "basic-b3", "standard-s1" to "standard-s3", or "" for none but those below.
	Preset string `json:"preset,omitempty"`
	// Units multiplies what an edition has per unit; 0 means 1.
	Units int `json:"units,omitempty"`
	// Rates replace those of the edition, by the names of kinds. A count of 0 is
	// no limit.
	Rates map[string]RateSetting `json:"rates,omitempty"`
	// DailyMessages replaces the number of messages a day; nil is that of the
	// edition, 0 no limit.
	DailyMessages *int64 `json:"dailyMessages,omitempty"`
}

// RateSetting is a rate as it is set.
type RateSetting struct {
	Count   float64 `json:"count"`
	Seconds float64 `json:"seconds,omitempty"` // 0 means 1
}

// Bounds of settings.
const (
	MaxUnits   = 200
	maxCount   = 1e9
	maxSeconds = 24 * 3600
)

// Clone returns a copy that shares no memory with s; nil for nil.
func (s *Settings) Clone() *Settings {
	if s == nil {
		return nil
	}
	c := *s
	c.Rates = maps.Clone(s.Rates)
	if s.DailyMessages != nil {
		c.DailyMessages = new(*s.DailyMessages)
	}
	return &c
}

// Limits are what settings come to.
type Limits struct {
	Rates         [NumKinds]Rate
	Missing       [NumKinds]bool // kinds that the edition does not have
	DailyMessages int64          // 0 for no limit
	MessageUnit   int            // bytes that count as one message of the day
}

// edition is a row of the table of editions. Rates are per unit, with a least
// value where there is one.
type edition struct {
	name         string
	tier         int // 1 to 3
	daily        int64
	messageUnit  int
	basic        bool
	onlyOneUnit  bool
	registry     float64 // a minute and unit
	telemetry    float64 // a second and unit, connections too
	telemetryMin float64
	sends        float64 // a minute and unit
	receives     float64 // a minute and unit
	methods      float64 // MethodUnits a second and unit
	queries      float64 // a minute and unit
	twinReads    rateOf
	twinUpdates  rateOf
	jobDevices   rateOf
}

// rateOf is a rate a second: so much for each unit, and at least so much.
type rateOf struct{ unit, least float64 }

func (r rateOf) of(units int) float64 { return max(r.unit*float64(units), r.least) }

// editions is the table of the public documentation of quotas and throttling.
var editions = func() []edition {
	tier1 := edition{
		tier: 1, daily: 400_000, messageUnit: 4 << 10, registry: 100, telemetry: 12, telemetryMin: 100, sends: 100, receives: 1000,
		methods: 160 << 10 / MethodUnit, queries: 20, twinReads: rateOf{0, 100}, twinUpdates: rateOf{0, 50}, jobDevices: rateOf{0, 10},
	}
	tier2 := tier1
	tier2.tier, tier2.daily, tier2.telemetry, tier2.telemetryMin, tier2.methods = 2, 6_000_000, 120, 0, 480<<10/MethodUnit
	tier2.twinReads, tier2.twinUpdates, tier2.jobDevices = rateOf{10, 100}, rateOf{5, 50}, rateOf{1, 10}
	tier3 := edition{
		tier: 3, daily: 300_000_000, messageUnit: 4 << 10, registry: 5000, telemetry: 6000, sends: 5000, receives: 50_000,
		methods: 24 << 20 / MethodUnit, queries: 1000, twinReads: rateOf{500, 0}, twinUpdates: rateOf{250, 0}, jobDevices: rateOf{50, 0},
	}
	free := tier1
	free.name, free.daily, free.messageUnit, free.onlyOneUnit = "free", 8000, 512, true
	all := []edition{free}
	for _, t := range []edition{tier1, tier2, tier3} {
		basic, standard := t, t
		basic.name, basic.basic = fmt.Sprintf("basic-b%d", t.tier), true
		standard.name = fmt.Sprintf("standard-s%d", t.tier)
		all = append(all, basic, standard)
	}
	return all
}()

// Presets returns the names of the editions.
func Presets() []string {
	var names []string
	for i := range editions {
		names = append(names, editions[i].name)
	}
	slices.Sort(names)
	return names
}

// Limits returns what the settings come to, or what is wrong with them: code
// ArgumentInvalid.
func (s *Settings) Limits() (Limits, error) {
	const op = "quota.Settings"
	var l Limits
	units := cmp.Or(s.Units, 1)
	if units < 1 || units > MaxUnits {
		return l, causeway.Errorf(causeway.ArgumentInvalid, op, "units is %d, it must be from 1 to %d", s.Units, MaxUnits)
	}
	l.MessageUnit = 4 << 10
	if s.Preset != "" {
		i := slices.IndexFunc(editions, func(e edition) bool { return e.name == s.Preset })
		if i < 0 {
			return l, causeway.Errorf(causeway.ArgumentInvalid, op, "the preset %q is none of %s", s.Preset, strings.Join(Presets(), ", "))
		}
		if e := &editions[i]; e.onlyOneUnit && units != 1 {
			return l, causeway.Errorf(causeway.ArgumentInvalid, op, "the edition %s has one unit, not %d", e.name, units)
		}
		l = editions[i].limits(units)
	}
	for name, r := range s.Rates {
		k, ok := ParseKind(name)
		if !ok {
			return l, causeway.Errorf(causeway.ArgumentInvalid, op, "there is no rate %q, use %s", name, strings.Join(names[:], ", "))
		}
		seconds := cmp.Or(r.Seconds, 1)
		if !(r.Count >= 0 && r.Count <= maxCount && seconds > 0 && seconds <= maxSeconds) { // so that NaN is refused
			return l, causeway.Errorf(causeway.ArgumentInvalid, op, "the rate %q is %g in %g s; a count is from 0 to %g, a time up to a day", name, r.Count, seconds, maxCount)
		}
		l.Missing[k], l.Rates[k] = false, Rate{}
		if r.Count > 0 {
			l.Rates[k] = Rate{r.Count, time.Duration(seconds * float64(time.Second))}
		}
	}
	if n := s.DailyMessages; n != nil {
		if *n < 0 {
			return l, causeway.Errorf(causeway.ArgumentInvalid, op, "dailyMessages is %d; 0 means no limit", *n)
		}
		l.DailyMessages = *n
	}
	return l, nil
}

func (e *edition) limits(units int) Limits {
	u := float64(units)
	second := func(n float64) Rate { return Rate{n, time.Second} }
	minute := func(n float64) Rate { return Rate{n, time.Minute} }
	telemetry := max(e.telemetry*u, e.telemetryMin)
	l := Limits{DailyMessages: e.daily * int64(units), MessageUnit: e.messageUnit, Rates: [NumKinds]Rate{
		Registry:        minute(e.registry * u),
		Connections:     second(telemetry),
		Telemetry:       second(telemetry),
		CommandSends:    minute(e.sends * u),
		CommandReceives: minute(e.receives * u),
		Uploads:         minute(e.registry * u),
		Methods:         second(e.methods * u),
		Queries:         minute(e.queries * u),
		TwinReads:       second(e.twinReads.of(units)),
		TwinUpdates:     second(e.twinUpdates.of(units)),
		Jobs:            minute(e.registry * u),
		JobDevices:      second(e.jobDevices.of(units)),
		Configurations:  minute(20 * u),
	}}
	if e.basic {
		// A basic hub has neither messages to devices nor twins, methods and what
		// is made of them.
		for _, k := range []Kind{CommandSends, CommandReceives, Methods, TwinReads, TwinUpdates, Jobs, JobDevices, Configurations} {
			l.Missing[k], l.Rates[k] = true, Rate{}
		}
	}
	return l
}
