package deploy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
)

// statuses are the states of configurations on an identity, by id.
type statuses map[string]string

// layers are the configurations of devices or modules on an identity, laid over
// one another.
type layers struct {
	settings []setting // the lowest precedence first
	is       statuses
	// keeps says that nobody knows all that they set: what is set stays.
	keeps bool
}

// overlay lays the settings of configurations of devices or modules over one
// another, the lowest precedence first, and says which of them have a say: those
// with a path that none after them sets as a whole. When nobody knows what one
// sets, it and those before it are as they are in have: they may be overruled.
func overlay(members []*compiled, have map[string]string) layers {
	l := layers{is: make(statuses, len(members))}
	known := 0
	for i, c := range members {
		if c.opaque {
			l.keeps, known = true, i+1
		}
	}
	for _, c := range members[:known] {
		l.is[c.ID] = cmp.Or(have[c.ID], registry.ConfigurationTargeted)
	}
	for i := known; i < len(members); i++ {
		c := members[i]
		own := c.settings()
		l.settings = append(l.settings, own...)
		l.is[c.ID] = registry.ConfigurationTargeted
		if slices.ContainsFunc(own, func(s setting) bool { return !overruled(s.path, members[i+1:]) }) {
			l.is[c.ID] = registry.ConfigurationApplied
		}
	}
	return l
}

// settings returns the settings of a configuration of devices or modules.
func (c *compiled) settings() []setting {
	if c.kind == Module {
		return c.content.module
	}
	return c.content.device
}

// overruled reports whether some later configuration sets a path, or all around
// it.
func overruled(path []string, later []*compiled) bool {
	for _, c := range later {
		for _, s := range c.settings() {
			if len(s.path) <= len(path) && slices.Equal(s.path, path[:len(s.path)]) {
				return true
			}
		}
	}
	return false
}

// deployment is what an edge device gets of the deployments that target it.
type deployment struct {
	is      statuses
	applied []*compiled          // the base, then its layers
	modules map[string][]setting // by module, in the order of applied
	wanted  map[string]bool      // modules, without those of the platform
	frozen  bool                 // it is not carried out: what there is stays
	adds    bool                 // it is not all that there is: what it does not name stays
}

// none is how the plan without a base is called in traces.
const none = "none"

// name tells the deployment from others.
func (d *deployment) name() string {
	if len(d.applied) == 0 {
		return none
	}
	names := make([]string, len(d.applied))
	for i, c := range d.applied {
		names[i] = c.generation()
	}
	return strings.Join(names, " ")
}

// deploy chooses the base of the highest precedence, and the layers of a higher
// priority than it has. Without a base nothing is applied, nor when nobody knows
// whether a configuration behind the base is another base, or a layer of what:
// all stays as it is in have.
func deploy(members []*compiled, have map[string]string) *deployment {
	d := &deployment{is: make(statuses, len(members))}
	base, opaque := -1, -1
	for i, c := range members {
		d.is[c.ID] = registry.ConfigurationTargeted
		if c.base {
			base = i
		}
		if c.opaque {
			opaque = i
		}
	}
	if opaque > base {
		for id := range d.is {
			d.is[id] = cmp.Or(have[id], d.is[id])
		}
		return d
	}
	if base < 0 {
		return d
	}
	d.applied = append(d.applied, members[base])
	for _, c := range members[base+1:] {
		// Those behind the base with its priority are younger, not higher.
		if c.Priority > members[base].Priority {
			d.applied = append(d.applied, c)
		}
	}
	d.modules = map[string][]setting{}
	for _, c := range d.applied {
		d.is[c.ID] = registry.ConfigurationApplied
		for module, settings := range c.content.modules {
			d.modules[module] = append(d.modules[module], settings...)
		}
	}
	d.wanted = wanted(d.modules)
	return d
}

// wanted returns the modules that are to exist: those that the agent is to run,
// and those that have settings.
func wanted(modules map[string][]setting) map[string]bool {
	w := map[string]bool{}
	for id := range modules {
		if !system(id) {
			w[id] = true
		}
	}
	doc := object{}
	for _, s := range modules[registry.EdgeAgent] {
		doc = put(doc, s)
	}
	run, _ := doc["modules"].(object)
	for id := range run {
		w[id] = true
	}
	return w
}

// target returns the desired properties that a twin is to have: what it has,
// without the paths of earlier plans, and with settings laid over it.
func target(now object, gone []string, settings ...[]setting) object {
	for _, key := range gone {
		now = drop(now, splitKey(key))
	}
	for _, some := range settings {
		for _, s := range some {
			now = put(now, s)
		}
	}
	return now
}

// keys returns the paths of settings without those that others cover.
func keys(settings []setting) []string {
	var all []string
	for _, s := range settings {
		all = append(all, s.key())
	}
	slices.Sort(all)
	return slices.Compact(all)
}
