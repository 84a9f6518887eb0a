package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// ThirdParty are the rules of where modules of others may be imported.
type ThirdParty struct {
	under   []string // folders that may import any
	modules []string // modules that any may import
	tests   []string // modules that contract suites may import
}

// ParseThirdParty reads the form of thirdparty.txt: lines "under {folder}",
// "module {path} {why}" and "tests {path}". A module without a why is refused.
func ParseThirdParty(text string) (ThirdParty, error) {
	var p ThirdParty
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0:
		case fields[0] == "under" && len(fields) == 2:
			p.under = append(p.under, fields[1])
		case fields[0] == "tests" && len(fields) == 2:
			p.tests = append(p.tests, fields[1])
		case fields[0] == "module" && len(fields) > 2:
			p.modules = append(p.modules, fields[1])
		case fields[0] == "module" && len(fields) == 2:
			return ThirdParty{}, fmt.Errorf("module %s: say why it may be imported anywhere", fields[1])
		default:
			return ThirdParty{}, fmt.Errorf("%q is none of \"under {folder}\", \"module {path} {why}\" and \"tests {path}\"", strings.TrimSpace(line))
		}
	}
	return p, nil
}

// Check returns what is wrong with the package at from, relative to our module,
// importing a package of another module; nil when it may.
func (p ThirdParty) Check(from, imported string) error {
	for _, dir := range p.under {
		if within(from, dir) {
			return nil
		}
	}
	modules := p.modules
	if suite(from) {
		modules = slices.Concat(modules, p.tests)
	}
	for _, m := range modules {
		if within(imported, m) {
			return nil
		}
	}
	return fmt.Errorf("%s may not import %s: third-party modules belong under %s", from, imported, strings.Join(p.under, ", "))
}

// suite reports whether the package at path is a contract suite or a fake, for
// tests alone: c2dtest, storetest.
func suite(path string) bool { return strings.HasSuffix(path, "test") }

// within reports whether path is dir or below it.
func within(path, dir string) bool {
	rest, ok := strings.CutPrefix(path, dir)
	return ok && (rest == "" || rest[0] == '/')
}
