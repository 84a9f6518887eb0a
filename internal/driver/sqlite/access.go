package sqlite

import (
	"encoding/json"
	"strings"

	"github.com/causeway-iot/causeway/internal/cloud/registry"
	"github.com/causeway-iot/causeway/internal/lang/hubquery"
)

// access is a way to the records of a selection: the table that drives, as a
// part of FROM, with the name of the table whose device and module give the
// order; and what must be true there. Better ways have a lower rank.
type access struct {
	rank  int
	from  string // e.g. "identities i INDEXED BY …"
	key   string // "i", "t", "h" or "g"
	where []string
	args  []any
}

// Ranks, in the order of how few records they usually find.
const (
	byIDs = iota
	byDevice
	byConfiguration
	byTag
	byPrefix
	byModule
	byEdge
	byStatus
	byOrder // everything there is
)

// bestAccess returns the way that finds the fewest records.
func bestAccess(c *conn, sel *registry.Selection) (access, error) {
	best := access{rank: byOrder}
	if sel.IDs != nil {
		best = idsAccess(sel)
	}
	for i := range sel.Where {
		a, ok := conjunctAccess(sel, &sel.Where[i])
		if !ok || a.rank >= best.rank {
			continue
		}
		if a.rank == byStatus {
			few, err := isMinority(c, sel.Hub, a.args[0] == int64(1))
			if err != nil {
				return access{}, err
			}
			if !few {
				continue
			}
		}
		best = a
	}
	return best, nil
}

// indexed reports whether there is a way to the records of a selection other
// than through all of them.
func indexed(sel *registry.Selection) bool {
	for i := range sel.Where {
		if _, ok := conjunctAccess(sel, &sel.Where[i]); ok {
			return true
		}
	}
	return sel.IDs != nil
}

// isMinority reports whether less than half of the devices of a hub are
// enabled, or disabled.
func isMinority(c *conn, hub string, enabled bool) (few bool, err error) {
	err = c.query("SELECT devices, enabled FROM registry_counts WHERE hub = ?", func(r row) error {
		n := r.int(1)
		if !enabled {
			n = r.int(0) - n
		}
		few = n < r.int(0)/2
		return nil
	}, hub)
	return few, err
}

// conjunctAccess returns the way to the records of which a conjunct is true, if
// there is one. Values of another kind than what is stored are of no record;
// they are left out, which leaves a way that finds none.
func conjunctAccess(sel *registry.Selection, c *hubquery.Conjunct) (a access, ok bool) {
	p := c.Path
	if p.Root == hubquery.Configurations {
		return configurationAccess(c)
	}
	if c.Defined {
		return a, false
	}
	plain := len(p.Segments) == 0 && !c.Prefix
	switch {
	case p.Root == hubquery.DeviceID && len(p.Segments) == 0 && c.Prefix:
		prefix := c.Values[0].String()
		if prefix == "" {
			return a, false
		}
		a = access{rank: byPrefix, where: []string{"KEY.device >= ?"}, args: []any{prefix}}
		if end, ok := afterPrefix(prefix); ok {
			a.where, a.args = append(a.where, "KEY.device < ?"), append(a.args, end)
		}
		return a, true
	case p.Root == hubquery.DeviceID && plain:
		return access{rank: byDevice, where: []string{"KEY.device IN (SELECT value FROM json_each(?))"}, args: []any{jsonTexts(textsOf(c.Values))}}, true
	case p.Root == hubquery.ModuleID && plain && sel.Modules && len(c.Values) == 1:
		return access{
			rank: byModule, from: "identities i INDEXED BY identities_module", key: "i",
			where: []string{"i.module = ?"}, args: []any{textOf(c.Values[0])},
		}, true
	case p.Root == hubquery.Capabilities && !sel.Modules && !c.Prefix && below(p, "iotEdge") && len(c.Values) == 1 && c.Values[0].True():
		return access{rank: byEdge, from: "identities i INDEXED BY identities_edge", key: "i", where: []string{"i.edge = 1"}}, true
	case p.Root == hubquery.Status && plain && !sel.Modules && len(c.Values) == 1:
		switch textOf(c.Values[0]) {
		case "enabled":
			a.args = []any{int64(1)}
		case "disabled":
			a.args = []any{int64(0)}
		default:
			return a, false
		}
		a.rank, a.from, a.key, a.where = byStatus, "identities i INDEXED BY identities_status", "i", []string{"i.enabled = ?"}
		return a, true
	case p.Root == hubquery.Tags && !c.Prefix && len(p.Segments) > 0 && len(c.Values) == 1:
		names := make([]string, len(p.Segments))
		for i, s := range p.Segments {
			if s.Element { // what is in arrays has no hash
				return a, false
			}
			names[i] = s.Name
		}
		return access{
			rank: byTag, from: "tag_hashes h", key: "h",
			where: []string{"h.hash = ?"}, args: []any{tagHash(sel.Hub, sel.Modules, names, c.Values[0])},
		}, true
	}
	return a, false
}

// configurationAccess is the way to the identities that a configuration is on,
// whatever its status or with a certain one.
func configurationAccess(c *hubquery.Conjunct) (a access, ok bool) {
	p := c.Path
	for _, s := range p.Segments {
		if s.Element {
			return a, false
		}
	}
	status := len(p.Segments) == 2 && p.Segments[1].Name == "status"
	switch {
	case status && !c.Defined && !c.Prefix && len(c.Values) == 1:
		return access{
			rank: byConfiguration, from: "configured g INDEXED BY configured_status", key: "g",
			where: []string{"g.configuration = ?", "g.status = ?"}, args: []any{p.Segments[0].Name, textOf(c.Values[0])},
		}, true
	case status || c.Defined && len(p.Segments) == 1:
		return access{
			rank: byConfiguration, from: "configured g INDEXED BY configured_identities", key: "g",
			where: []string{"g.configuration = ?"}, args: []any{p.Segments[0].Name},
		}, true
	}
	return a, false
}

// idsAccess is the way to identities that are named.
func idsAccess(sel *registry.Selection) access {
	type id [2]string
	ids := make([]id, 0, len(sel.IDs))
	for _, x := range sel.IDs {
		if x.Hub == sel.Hub && x.IsModule() == sel.Modules {
			ids = append(ids, id{x.Device, x.Module})
		}
	}
	b, err := json.Marshal(ids)
	if err != nil {
		panic(err) // texts always marshal
	}
	return access{
		rank:  byIDs,
		where: []string{"(KEY.device, KEY.module) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))"}, args: []any{string(b)},
	}
}

func below(p *hubquery.Path, name string) bool {
	return len(p.Segments) == 1 && !p.Segments[0].Element && p.Segments[0].Name == name
}

// textOf returns a text, and of another value what no identity has.
func textOf(v hubquery.Value) string {
	if v.Kind() != hubquery.StringKind {
		return ""
	}
	return v.String()
}

func textsOf(values []hubquery.Value) []string {
	out := make([]string, 0, len(values))
	for _, v := range values {
		if v.Kind() == hubquery.StringKind {
			out = append(out, v.String())
		}
	}
	return out
}

func jsonTexts(texts []string) string {
	b, err := json.Marshal(texts)
	if err != nil {
		panic(err) // texts always marshal
	}
	return string(b)
}

// afterPrefix returns the first text after all that begin with a prefix. There
// is none after a prefix of bytes 0xff, which no UTF-8 is.
func afterPrefix(prefix string) (string, bool) {
	b := []byte(prefix)
	for i := len(b) - 1; i >= 0; i-- {
		if b[i] < 0xff {
			b[i]++
			return string(b[:i+1]), true
		}
	}
	return "", false
}

// statement returns the text of the query for some parts of records, and its
// arguments. The columns are those of the layout.
func (a *access) statement(sel *registry.Selection, parts registry.Parts) (string, []any, layout) {
	l := newLayout(sel.Modules, parts)
	key := a.key
	var from []string
	switch {
	case a.from != "":
		from = append(from, a.from)
	case sel.Modules && a.rank != byIDs: // past the devices, of which there are more
		key, from = "i", append(from, "identities i INDEXED BY identities_modules")
	}
	// Joins in this order and no other: the first table gives the order of rows.
	join := func(name, table, on string) {
		switch {
		case key == "":
			key = name
			from = append(from, table)
		case key != name:
			from = append(from, table+" ON "+strings.ReplaceAll(on, "KEY", key))
		}
	}
	const sameID = ".hub = ?1 AND KEY.device = SELF.device AND KEY.module = SELF.module"
	if l.identity || key == "" && !l.twin {
		join("i", "identities i", strings.ReplaceAll("SELF"+sameID, "SELF", "i"))
	}
	if l.twin {
		if key == "h" {
			join("t", "twins t", "t.id = h.twin")
		} else {
			join("t", "twins t", strings.ReplaceAll("SELF"+sameID, "SELF", "t"))
		}
	}
	if l.desired {
		from = append(from, "twins_desired d ON d.twin = t.id")
	}
	var where []string
	args := []any{sel.Hub}
	add := func(cond string, values ...any) {
		args = append(args, values...)
		where = append(where, strings.NewReplacer("KEY", key, "?", "?#").Replace(cond))
	}
	if key != "h" {
		where = append(where, key+".hub = ?1")
	}
	rest := a.args
	for _, w := range a.where {
		n := strings.Count(w, "?")
		add(w, rest[:n]...)
		rest = rest[n:]
	}
	if sel.Modules {
		add("KEY.module <> ''")
		if sel.After.Device != "" {
			add("(KEY.device, KEY.module) > (?, ?)", sel.After.Device, sel.After.Module)
		}
	} else {
		add("KEY.module = ''")
		if sel.After.Device != "" {
			add("KEY.device > ?", sel.After.Device)
		}
	}
	text := "SELECT " + strings.ReplaceAll(strings.Join(l.columns, ", "), "KEY", key) +
		" FROM " + strings.Join(from, " CROSS JOIN ") + " WHERE " + strings.Join(where, " AND ") +
		" ORDER BY " + key + ".device, " + key + ".module"
	return number(text), args, l
}

// number gives the parameters that have none yet ("?#") their numbers: 1 is the
// hub.
func number(text string) string {
	parts := strings.Split(text, "?#")
	var b strings.Builder
	for i, p := range parts {
		if i > 0 {
			b.WriteByte('?')
			b.WriteString(itoa(i + 1))
		}
		b.WriteString(p)
	}
	return b.String()
}
