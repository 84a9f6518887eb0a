package routing

import (
	"encoding/json"
	"strings"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/lang/routecond"
)

// enrichment is a compiled one.
type enrichment struct {
	key   string
	value string   // of a fixed one; else the text that stays when the path leads nowhere
	path  []string // into the twin of the sender, nil for a fixed one
	slot  int      // in Work.values, of one with a path
}

// resolved is the value of an enrichment for the present sender.
type resolved struct {
	done bool
	text string
}

// addEnrichments compiles the enrichments.
func (r *Router) addEnrichments(list []Enrichment) {
	paths := 0
	for _, e := range list {
		c := enrichment{key: e.Key, value: e.Value}
		switch rest, isTwin := cutPrefixFold(e.Value, twinReference); {
		case strings.EqualFold(e.Value, hubReference):
			c.value = r.hub
		case isTwin:
			c.path, c.slot = strings.Split(rest, "."), paths
			paths++
		}
		to, err := r.targets(e.EndpointNames)
		if err != nil {
			r.broken = append(r.broken, Broken{Enrichment: e.Key, Err: err})
			continue
		}
		if r.enrich == nil {
			r.enrich = make([][]enrichment, len(r.endpoints))
		}
		for to != 0 {
			var i int
			i, to = to.Next()
			r.enrich[i] = append(r.enrich[i], c)
		}
	}
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// Enriches reports whether messages to endpoint i may be changed by Enrich.
func (w *Work) Enriches(i int) bool { return w.r.enrich != nil && len(w.r.enrich[i]) > 0 }

// Enrich returns m as it goes to endpoint i. The properties it adds are valid
// until End.
func (w *Work) Enrich(m causeway.Message, i int) causeway.Message {
	if !w.Enriches(i) || m.Source == causeway.SourceDigitalTwin {
		return m
	}
	from := len(w.props)
	w.props = append(w.props, m.Properties...)
	own := w.props[from:]
	for k := range w.r.enrich[i] {
		e := &w.r.enrich[i][k]
		own = set(own, e.key, w.value(e))
	}
	w.props = append(w.props[:from], own...)
	plain := m.Properties
	m.Properties = w.props[from:len(w.props):len(w.props)]
	if m.Size() > causeway.MaxMessageSize {
		m.Properties = plain // the limit holds for what is delivered
	}
	return m
}

// set puts a property in the place of those of its name.
func set(list []causeway.Property, key, value string) []causeway.Property {
	kept := list[:0]
	for _, p := range list {
		if p.Key != key {
			kept = append(kept, p)
		}
	}
	return append(kept, causeway.Property{Key: key, Value: value})
}

// value returns what an enrichment adds for the present sender.
func (w *Work) value(e *enrichment) string {
	if e.path == nil {
		return e.value
	}
	for len(w.values) <= e.slot {
		w.values = append(w.values, resolved{})
	}
	v := &w.values[e.slot]
	if !v.done {
		v.done, v.text = true, e.value
		if t, ok := w.msg.Twin(); ok {
			if text, ok := find(t, e.path); ok {
				v.text = text
			}
		}
	}
	return v.text
}

// find returns the value at a path of a twin as a text: that of a string, the
// JSON of anything else.
func find(t routecond.Twin, path []string) (string, bool) {
	doc, rest := []byte(nil), path
	switch {
	case strings.EqualFold(path[0], "tags"):
		doc, rest = t.Tags, path[1:]
	case len(path) > 1 && strings.EqualFold(path[0], "properties") && strings.EqualFold(path[1], "desired"):
		doc, rest = t.Desired, path[2:]
	case len(path) > 1 && strings.EqualFold(path[0], "properties") && strings.EqualFold(path[1], "reported"):
		doc, rest = t.Reported, path[2:]
	}
	if len(doc) == 0 || len(rest) == 0 {
		return "", false
	}
	for _, name := range rest {
		var members map[string]json.RawMessage
		if json.Unmarshal(doc, &members) != nil {
			return "", false
		}
		next, ok := members[name]
		if !ok {
			for k, v := range members {
				if strings.EqualFold(k, name) {
					next, ok = v, true
					break
				}
			}
		}
		if !ok {
			return "", false
		}
		doc = next
	}
	var text string
	if json.Unmarshal(doc, &text) == nil && doc[0] == '"' {
		return text, true
	}
	return string(doc), true
}
