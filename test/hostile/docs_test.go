package hostile

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const document = "../../docs/bad-input.md"

// documented is a test that the document names: function, slash, row.
var documented = regexp.MustCompile("\\[`((?:Test|Fuzz)[^`/]*)(?:/([^`]*))?`\\]\\(([^)]+_test\\.go)\\)")

// pythonTest is a test of Python: class, method, file.
var pythonTest = regexp.MustCompile("\\[`(\\w+)\\.(test_\\w+)`\\]\\(([^)]+\\.py)\\)")

// checkPython returns what is wrong with the tests of Python that a document
// names, and how many there are.
func checkPython(dir, text string) (wrong []string, named int) {
	for i, line := range strings.Split(text, "\n") {
		for _, m := range pythonTest.FindAllStringSubmatch(line, -1) {
			named++
			b, err := os.ReadFile(filepath.Join(dir, m[3]))
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("line %d: %v", i+1, err))
			}
			_, class, ok := strings.Cut("\n"+string(b), "\nclass "+m[1]+"(")
			class, _, _ = strings.Cut(class, "\nclass ")
			if !ok || !strings.Contains(class, "def "+m[2]+"(") {
				wrong = append(wrong, fmt.Sprintf("line %d: %s has no %s.%s", i+1, m[3], m[1], m[2]))
			}
		}
	}
	return wrong, named
}

// source is what the document can name of one file.
type source struct {
	functions map[string]map[string]bool // with the strings in them
	variables map[string][]string        // first strings of the rows of a table
	strings   map[string]bool
}

// parse reads a file of tests.
func parse(path string) (source, error) {
	s := source{map[string]map[string]bool{}, map[string][]string{}, map[string]bool{}}
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		return s, err
	}
	for _, d := range f.Decls {
		name, inside := "", map[string]bool{}
		switch d := d.(type) {
		case *ast.FuncDecl:
			name = d.Name.Name
			s.functions[name] = inside
		case *ast.GenDecl:
			if len(d.Specs) == 1 {
				if v, ok := d.Specs[0].(*ast.ValueSpec); ok {
					name = v.Names[0].Name
				}
			}
		}
		ast.Inspect(d, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CompositeLit:
				if n.Type == nil && len(n.Elts) > 1 { // a row
					if text, ok := literal(n.Elts[0]); ok {
						s.variables[name] = append(s.variables[name], text)
					}
				}
			case *ast.BasicLit:
				if text, ok := literal(n); ok {
					inside[text], s.strings[text] = true, true
				}
			}
			return true
		})
	}
	return s, nil
}

func literal(e ast.Expr) (string, bool) {
	l, ok := e.(*ast.BasicLit)
	if !ok || l.Kind != token.STRING {
		return "", false
	}
	text, err := strconv.Unquote(l.Value)
	return text, err == nil
}

// check returns what is wrong with a document whose links start in dir, and
// which tests it names. With all, every row of its tables must name one.
func check(dir, text string, all bool) (wrong []string, named map[string]bool) {
	named = map[string]bool{}
	files := map[string]source{}
	for i, line := range strings.Split(text, "\n") {
		found := documented.FindAllStringSubmatch(line, -1)
		if len(found) == 0 && all && strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| Input ") {
			wrong = append(wrong, fmt.Sprintf("line %d names no test: %s", i+1, line))
		}
		for _, m := range found {
			path := filepath.Join(dir, m[3])
			s, ok := files[path]
			if !ok {
				var err error
				if s, err = parse(path); err != nil {
					wrong = append(wrong, fmt.Sprintf("line %d: %v", i+1, err))
				}
				files[path] = s
			}
			switch function := s.functions[m[1]]; {
			case function == nil:
				wrong = append(wrong, fmt.Sprintf("line %d: %s has no %s", i+1, m[3], m[1]))
			case m[2] != "" && !function[m[2]] && !s.strings[m[2]]:
				wrong = append(wrong, fmt.Sprintf("line %d: %s of %s has no row %q", i+1, m[1], m[3], m[2]))
			}
			named[path+" "+m[1]+"/"+m[2]] = true
		}
	}
	return wrong, named
}

// TestDocument holds docs/bad-input.md to the tests.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	wrong, named := check(filepath.Dir(document), string(text), true)
	for _, w := range wrong {
		t.Error(w)
	}
	if len(named) < 300 {
		t.Errorf("the document names %d tests only", len(named))
	}
	// The tables that are the source of the document are in it as a whole.
	for _, table := range []struct{ file, variable string }{
		{"internal/head/mqtt/badinput_test.go", "badInput"},
		{"internal/head/amqp/badinput_test.go", "badInput"},
		{"internal/head/iothub/bad_input_test.go", "badInputs"},
		{"wire/amqp/conformance_test.go", "badInput"},
	} {
		path := filepath.Join("../..", table.file)
		s, err := parse(path)
		if err != nil {
			t.Fatal(err)
		}
		rows := s.variables[table.variable]
		if len(rows) < 50 {
			t.Errorf("%s has only %d rows: is this still the table?", table.file, len(rows))
		}
		for _, row := range rows {
			if !named[path+" TestBadInput/"+row] {
				t.Errorf("docs/bad-input.md lacks the row %q of %s", row, table.file)
			}
		}
	}
}

// TestMatrix holds the pages of docs/compat to the tests they name.
func TestMatrix(t *testing.T) {
	for page, least := range map[string]int{matrix: 50, "../../docs/compat/dps.md": 15} {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		wrong, named := check(filepath.Dir(page), string(text), false)
		for _, w := range append(wrong, worksUnshown(string(text))...) {
			t.Errorf("%s: %s", page, w)
		}
		if len(named) < least {
			t.Errorf("%s names %d tests only", page, len(named))
		}
	}
}

// cellsOf returns the cells of a row of a table, nil when it is none.
func cellsOf(line string) []string {
	line, ok := strings.CutPrefix(strings.TrimSuffix(strings.TrimSpace(line), "|"), "|")
	if !ok {
		return nil
	}
	cells := strings.Split(line, "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

// worksUnshown returns the rows of a matrix that say that something works and
// link to nothing.
func worksUnshown(text string) (wrong []string) {
	for i, line := range strings.Split(text, "\n") {
		cells := cellsOf(line)
		if len(cells) != 4 || cells[1] != "works" && cells[1] != "partly" {
			continue
		}
		if !strings.Contains(cells[3], "](") {
			wrong = append(wrong, fmt.Sprintf("line %d: nothing shows that it works: %s", i+1, line))
		}
	}
	return wrong
}

// TestCommandLine holds docs/compat/az.md to the tests it names.
func TestCommandLine(t *testing.T) {
	const commands = "../../docs/compat/az.md"
	text, err := os.ReadFile(commands)
	if err != nil {
		t.Fatal(err)
	}
	wrong, named := checkPython(filepath.Dir(commands), string(text))
	for _, w := range append(wrong, worksUnshown(string(text))...) {
		t.Error(w)
	}
	if named < 15 {
		t.Errorf("the document names %d tests only", named)
	}
}

// link is a link of a document to a file.
var link = regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)

// TestLinksOfDocuments holds all documents to the files that they link to.
func TestLinksOfDocuments(t *testing.T) {
	n := 0
	for _, pattern := range []string{"../../*.md", "../../docs/*.md", "../../docs/*/*.md"} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			for i, line := range strings.Split(string(text), "\n") {
				for _, m := range link.FindAllStringSubmatch(line, -1) {
					n++
					if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
						t.Errorf("%s, line %d: %v", path, i+1, err)
					}
				}
			}
		}
	}
	if n < 500 {
		t.Errorf("only %d links: are these still the documents?", n)
	}
}

// TestCheck shows that the check of the document can fail.
func TestCheck(t *testing.T) {
	const file = "docs_test.go"
	for line, want := range map[string]string{
		"| x | y | [`TestCheck`](" + file + ") |":               "",
		"| x | y | [`TestCheck/names no test`](" + file + ") |": "",
		"| x | y | [`TestCheck/no" + " row`](" + file + ") |":   "has no row",
		"| x | y | [`TestGone`](" + file + ") |":                "has no TestGone",
		"| x | y | [`TestCheck`](gone_test.go) |":               "no such file",
		"| x | y | z |": "names no test",
		"text":          "",
	} {
		wrong, _ := check(".", line, true)
		if got := strings.Join(wrong, "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	const python = "../interop/python/test_az.py"
	for line, want := range map[string]string{
		"[`Identities.test_parents`](" + python + ")": "",
		"[`Twins.test_parents`](" + python + ")":      "has no Twins.test_parents",
		"[`Gone.test_parents`](" + python + ")":       "has no Gone",
		"[`Twins.test_parents`](gone.py)":             "no such file",
	} {
		wrong, _ := checkPython(".", line)
		if got := strings.Join(wrong, "; "); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	if len(worksUnshown("| x | works | | – |")) != 1 || len(worksUnshown("| x | works | y | [z](f) |\n| x | not yet | y | – |")) != 0 {
		t.Error("rows that show nothing")
	}
}
