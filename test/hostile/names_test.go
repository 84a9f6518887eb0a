package hostile

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/internal/wire/topic"
)

// named is a name of a topic or a link in a table.
type named struct {
	state, text string
	line        int
}

var quoted = regexp.MustCompile("`([^`]+)`")

// names returns what the first column of the table under a heading of the
// matrix has, with examples in place of parameters.
func names(t *testing.T, heading string) (all []named) {
	t.Helper()
	text, err := os.ReadFile(matrix)
	if err != nil {
		t.Fatal(err)
	}
	examples := strings.NewReplacer("{d}", "d", "{m}", "m", "{bag}", "k=v", "{status}", "200", "{rid}", "1", "{name}", "n",
		"{any}", "a/b", "{hub}", "hub", "{group}", "$Default", "{p}", "0", "{tail}", "$management")
	at := ""
	for i, line := range strings.Split(string(text), "\n") {
		if h, ok := strings.CutPrefix(line, "### "); ok {
			at = h
		}
		cells := cellsOf(line)
		if at != heading || len(cells) != 4 {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[0], -1) {
			all = append(all, named{cells[1], examples.Replace(m[1]), i + 1})
		}
	}
	return all
}

// TestTopics holds the table of topics to what is parsed: what works is known,
// nothing else is, and all that is known is in the table.
func TestTopics(t *testing.T) {
	device := causeway.Identity{Hub: "hub", Device: "d"}
	module := causeway.Identity{Hub: "hub", Device: "d", Module: "m"}
	kinds, lanes, responses := map[topic.Kind]bool{}, causeway.Lane(0), false
	for _, n := range names(t, "Topics") {
		verb, text, _ := strings.Cut(n.text, " ")
		id := device
		if strings.Contains(text, "/modules/") {
			id = module
		}
		var err error
		switch verb {
		case "PUBLISH":
			var m causeway.Message
			var p topic.Publish
			p, _, err = topic.ParsePublish([]byte(text), id, &m, nil)
			kinds[p.Kind] = true
		case "SUBSCRIBE":
			var f topic.Filter
			f, err = topic.ParseFilter(text, id)
			lanes, responses = lanes|f.Lanes, responses || f.TwinResponses
		default:
			t.Errorf("line %d: %s is neither PUBLISH nor SUBSCRIBE", n.line, n.text)
		}
		if (err == nil) != (n.state == "works") {
			t.Errorf("line %d: %s %s: %v", n.line, n.text, n.state, err)
		}
	}
	for k := topic.Telemetry; k <= topic.TwinPatch; k++ {
		if !kinds[k] {
			t.Errorf("no row has topics of kind %d", k)
		}
	}
	if want := causeway.LaneCommands | causeway.LaneMethods | causeway.LaneDesired | causeway.LaneInputs; lanes != want || !responses {
		t.Errorf("the filters are for lanes %v, want %v; twin responses %v", lanes, want, responses)
	}
}

// TestLinks holds the table of links to what is parsed.
func TestLinks(t *testing.T) {
	kinds := map[hubamqp.Kind]bool{}
	for _, n := range names(t, "Links") {
		a, err := hubamqp.ParseAddress(n.text)
		kinds[a.Kind] = true
		if (err == nil) != (n.state == "works") {
			t.Errorf("line %d: %s %s: %v", n.line, n.text, n.state, err)
		}
	}
	for k := hubamqp.KindCBS; k <= hubamqp.KindEventsSend; k++ {
		if !kinds[k] {
			t.Errorf("no row has addresses of kind %d", k)
		}
	}
}
