package hostile

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// operation is a method and a path, its parameters without names.
type operation struct{ method, path string }

var (
	pathLine   = regexp.MustCompile(`^  (/\S*):$`)
	methodLine = regexp.MustCompile(`^    (get|put|post|patch|delete):$`)
	parameter  = regexp.MustCompile(`\{[^}]*\}`)
	// routed is what a row calls a route: perhaps methods, and a path, in which an
	// ellipsis stands for anything.
	routed = regexp.MustCompile("`((?:[A-Z]+ )*)(/[^` ?]*)[^`]*`")
)

// operations returns the operations of an OpenAPI description.
func operations(text string) (ops []operation) {
	path := ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if m := pathLine.FindStringSubmatch(line); m != nil {
			path = parameter.ReplaceAllString(m[1], "{}")
		} else if m := methodLine.FindStringSubmatch(line); m != nil && path != "" {
			ops = append(ops, operation{strings.ToUpper(m[1]), path})
		}
	}
	return ops
}

// row is what a row of the matrix says of routes.
type row struct {
	state string
	line  int
	names []route
}

// route is a name of routes: no methods are all methods.
type route struct {
	methods []string
	path    *regexp.Regexp
}

func (r route) is(o operation) bool {
	return (len(r.methods) == 0 || slices.Contains(r.methods, o.method)) && r.path.MatchString(o.path)
}

// rows returns the rows of a matrix that name routes.
func rows(text string) (all []row) {
	for i, line := range strings.Split(text, "\n") {
		cells := cellsOf(line)
		if len(cells) != 4 {
			continue
		}
		r := row{state: cells[1], line: i + 1}
		var methods []string
		for _, m := range routed.FindAllStringSubmatch(cells[0], -1) {
			if m[1] != "" {
				methods = strings.Fields(m[1])
			}
			path := regexp.QuoteMeta(parameter.ReplaceAllString(m[2], "{}"))
			r.names = append(r.names, route{methods, regexp.MustCompile("(?i)^" + strings.ReplaceAll(path, "…", ".*") + "$")})
		}
		if len(r.names) > 0 {
			all = append(all, r)
		}
	}
	return all
}

// compareRoutes returns where a matrix and an OpenAPI description disagree.
func compareRoutes(matrix, api string) (wrong []string) {
	table := rows(matrix)
	for _, o := range operations(api) {
		shown := false
		for _, r := range table {
			if !slices.ContainsFunc(r.names, func(n route) bool { return n.is(o) }) {
				continue
			}
			if r.state == "not yet" {
				wrong = append(wrong, fmt.Sprintf("line %d says that %s %s is not yet there", r.line, o.method, o.path))
			}
			shown = shown || r.state == "works" || r.state == "partly"
		}
		if !shown {
			wrong = append(wrong, fmt.Sprintf("no row has %s %s", o.method, o.path))
		}
	}
	return wrong
}

const matrix = "../../docs/compat/hub.md"

// TestRoutes holds the routes in docs/compat to those that there are: the
// descriptions of the APIs have them all, which tests beside the routes see to.
func TestRoutes(t *testing.T) {
	n := 0
	for name, page := range map[string]string{"iothub.yaml": matrix, "device.yaml": matrix, "dps.yaml": "../../docs/compat/dps.md"} {
		table, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		api, err := os.ReadFile("../../api/openapi/" + name)
		if err != nil {
			t.Fatal(err)
		}
		n += len(operations(string(api)))
		for _, w := range compareRoutes(string(table), string(api)) {
			t.Errorf("%s: %s of %s", page, w, name)
		}
	}
	if n < 50 {
		t.Errorf("only %d operations: is this still the API?", n)
	}
}

// TestCompareRoutes shows that the comparison can fail.
func TestCompareRoutes(t *testing.T) {
	const api = "paths:\n  /a/{id}/b:\n    get:\n    put:\n  /c:\n    post:\n"
	for matrix, want := range map[string]string{
		"| `GET PUT /a/{x}/b`, `POST /c?x=` | works | – | – |":                               "",
		"| `/a…` | works | – | – |\n| `/C` | partly | – | – |":                               "",
		"| `GET /a/{x}/b`, `/c` | works | – | – |":                                           "no row has PUT /a/{}/b; no row has POST /c",
		"| `/a…`, `/c` | works | – | – |\n| `POST /c` | not yet | – | – |":                   "line 2 says that POST /c is not yet there",
		"| `/a…` | works | – | – |\n| `GET /c` | works | – | – |":                            "no row has POST /c",
		"| `/a/…/b` | works | – | – |\n| `/c` | works | – | – |\n| `/d` | not yet | – | – |": "",
	} {
		if got := strings.Join(compareRoutes(matrix, api), "; "); got != want {
			t.Errorf("%s\n%q, want %q", matrix, got, want)
		}
	}
}
