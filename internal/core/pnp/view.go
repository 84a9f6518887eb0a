package pnp

import (
	"encoding/json"
	"fmt"
	"strconv"
)

// View renders the digital twin. An error means that t is not as the registry
// keeps it.
func View(t Twin) ([]byte, error) {
	l, err := levelOf(t.Desired.Properties, t.Desired.Metadata, t.Reported.Properties, t.Reported.Metadata)
	if err != nil {
		return nil, fmt.Errorf("read the twin of %s: %w", t.ID, err)
	}
	w := append([]byte(`{"$dtId":`), quote(t.ID)...)
	var meta []byte
	if t.Model != "" {
		meta = append(append(meta, `"$model":`...), quote(t.Model)...)
	}
	if w, err = l.append(w, meta, true); err != nil {
		return nil, fmt.Errorf("read the twin of %s: %w", t.ID, err)
	}
	return append(w, '}'), nil
}

// level is the root of a twin or one component: both sections with what is said
// of their members.
type level struct {
	desired, reported         object
	desiredMeta, reportedMeta object
}

func levelOf(desired, desiredMeta, reported, reportedMeta []byte) (l level, err error) {
	for _, p := range []struct {
		into *object
		text []byte
	}{{&l.desired, desired}, {&l.desiredMeta, desiredMeta}, {&l.reported, reported}, {&l.reportedMeta, reportedMeta}} {
		if *p.into, err = parse(p.text); err != nil {
			return l, err
		}
	}
	return l, nil
}

// names returns the members of both sections, those reported first.
func (l *level) names() []string {
	var names []string
	for _, m := range l.reported {
		names = append(names, m.name)
	}
	for _, m := range l.desired {
		if l.reported.get(m.name) == nil {
			names = append(names, m.name)
		}
	}
	return names
}

// component returns the level below that is called name, if it is one.
func (l *level) component(name string) (c level, ok bool, err error) {
	c, err = levelOf(l.desired.get(name), l.desiredMeta.get(name), l.reported.get(name), l.reportedMeta.get(name))
	return c, c.desired.component() || c.reported.component(), err
}

// append appends the members of a level and its $metadata, which begins with
// meta.
func (l *level) append(w, meta []byte, root bool) ([]byte, error) {
	for _, name := range l.names() {
		if name == marker {
			continue
		}
		if root {
			c, ok, err := l.component(name)
			if err != nil {
				return nil, err
			}
			if ok {
				if w, err = c.append(append(appendName(w, name), '{'), nil, false); err != nil {
					return nil, err
				}
				w = append(w, '}')
				continue
			}
		}
		if value := l.reported.get(name); value != nil {
			if a, ok := acknowledgement(value); ok {
				value = a.value
			}
			w = append(appendName(w, name), value...)
		}
		meta = l.appendFacts(appendName(meta, name), name)
	}
	w = append(appendName(w, "$metadata"), '{')
	return append(append(w, meta...), '}'), nil
}

// appendFacts appends what $metadata says of a property.
func (l *level) appendFacts(w []byte, name string) []byte {
	w = append(w, '{')
	add := func(key string, value []byte) {
		if value != nil {
			w = append(appendName(w, key), value...)
		}
	}
	if v := l.desired.get(name); v != nil {
		add("desiredValue", v)
		add("desiredVersion", stampOf(l.desiredMeta.get(name), "$lastUpdatedVersion"))
	}
	if v := l.reported.get(name); v != nil {
		if a, ok := acknowledgement(v); ok {
			add("ackVersion", a.version)
			add("ackCode", a.code)
			add("ackDescription", a.description)
		}
		add("lastUpdateTime", stampOf(l.reportedMeta.get(name), "$lastUpdated"))
	}
	return append(w, '}')
}

// stampOf returns a member of a node of $metadata.
func stampOf(node []byte, name string) []byte {
	o, err := parse(node)
	if err != nil {
		return nil
	}
	return o.get(name)
}

// appendName appends the name of a member, after a comma unless it is the first.
func appendName(w []byte, name string) []byte {
	if n := len(w); n > 0 && w[n-1] != '{' {
		w = append(w, ',')
	}
	return append(append(w, quote(name)...), ':')
}

// quote returns a JSON string.
func quote(s string) []byte {
	b, err := json.Marshal(s)
	if err != nil {
		return strconv.AppendQuoteToASCII(nil, s) // strings always have an encoding
	}
	return b
}
