package archtest_test

import (
	_ "embed"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/archtest"
)

const module = "github.com/causeway-iot/causeway"

//go:embed floors.txt
var floorsText string

//go:embed thirdparty.txt
var thirdPartyText string

func rules(t *testing.T) (archtest.Floors, archtest.ThirdParty) {
	t.Helper()
	floors, err := archtest.ParseFloors(floorsText)
	if err != nil {
		t.Fatal(err)
	}
	others, err := archtest.ParseThirdParty(thirdPartyText)
	if err != nil {
		t.Fatal(err)
	}
	return floors, others
}

// TestHouse holds the module itself against its rules.
func TestHouse(t *testing.T) {
	floors, others := rules(t)
	root := filepath.Join("..", "..")
	watch(t, root)
	packages, err := archtest.List(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(packages, func(p archtest.Package) bool { return p.ImportPath == module+"/internal/archtest" }) {
		t.Fatalf("this package is not among the %d that were listed", len(packages))
	}
	for _, err := range archtest.Check(module, packages, floors, others) {
		t.Error(err)
	}
}

// watch reads the folders of the module, so that the go command knows what this
// test depends on and does not answer from its cache when a file has changed.
func watch(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "node_modules") {
			return fs.SkipDir
		}
		if errors.Is(err, fs.ErrNotExist) { // of a build or a test that runs meanwhile
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestFloors(t *testing.T) {
	floors, _ := rules(t)
	tests := []struct{ from, to, wrong string }{
		// The rules the house stands on, each by name.
		{"internal/head/mqtt", "internal/hub/cloudhub", "internal/head and internal/hub are wings of one floor"},
		{"internal/hub/cloudhub", "internal/head/mqtt", "wings of one floor"},
		{"internal/cloud/registry", "internal/edge/runtime", "internal/cloud and internal/edge are wings of one floor"},
		{"internal/edge/agent", "internal/cloud/registry", "wings of one floor"},
		{"internal/driver/sqlite", "internal/driver/seglog", "the folders of internal/driver do not know each other"},
		{"internal/head/mqtt", "internal/head/iothub", "the folders of internal/head do not know each other"},
		{"internal/head/mqtt/deep", "internal/head/iothub", "do not know each other"},
		{"connector/modbus", "connector/opcua", "do not know each other"},
		{"internal/core/auth", "internal/cloud/registry", "internal/cloud is above internal/core"},
		{"internal/wire/topic", "internal/core/auth", "internal/core is above internal/wire"},
		{"internal/hub/cloudhub", "internal/driver/sqlite", "internal/driver is above internal/hub"},
		{"internal/app/cloud", "internal/cli", "internal/cli is above internal/app"},
		{"internal/lang/hubquery", "internal/obs", "wings of one floor"},
		{"client", "internal/core/auth", "wings of one floor"},
		{".", "internal/wire/sas", "internal/wire is above ."},
		{"internal/head/mqtt", "internal/nowhere", "internal/nowhere is on no floor"},
		{"internal/nowhere", "internal/core/auth", "internal/nowhere is on no floor"},
		{"internal/headless/mqtt", ".", "on no floor"},
		{"connector/opcua", "connector/all", "connector/all is above connector"},

		{"cmd/causeway", "internal/cli", ""},
		{"internal/cli", "internal/app/cloud", ""},
		{"internal/app/cloud", "internal/app/config", ""},
		{"internal/app/cloud", "internal/driver/sqlite", ""},
		{"internal/driver/sqlite", "internal/head/mqtt", ""}, // a driver keeps what a head's port asks for
		{"internal/driver/sqlite", "internal/cloud/registry", ""},
		{"internal/driver/sqlite/migrations", "internal/driver/sqlite", ""},
		{"internal/hub/cloudhub", "internal/hub/guard", ""},
		{"internal/head/mqtt", "internal/wire/mqtt", ""},
		{"internal/core/auth", "internal/core/pki", ""},
		{"internal/cloud/registry", "internal/cloud/c2d", ""},
		{"client", "internal/wire/topic", ""},
		{"connector/all", "connector/opcua", ""},
		{"connector/opcua", "plugin", ""},
		{"internal/app/edge", "connector/all", ""},
		{"internal/obs", ".", ""},
		{"test/interop", "internal/core/pki", ""},
	}
	for _, tt := range tests {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			err := floors.Check(tt.from, tt.to)
			if tt.wrong == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.wrong) {
				t.Errorf("error %v, want %q", err, tt.wrong)
			}
		})
	}
}

func TestCheck(t *testing.T) {
	floors, others := rules(t)
	pkg := func(path string, imports ...string) archtest.Package {
		return archtest.Package{ImportPath: module + path, Doc: "Package x is one.", GoFiles: []string{"x.go"}, Imports: imports}
	}
	undocumented, onlyTests, stranger := pkg("/internal/core/x"), pkg("/internal/attic/x", module+"/internal/cli"), pkg("")
	undocumented.Doc = " "
	onlyTests.Doc, onlyTests.GoFiles = "", nil
	stranger.ImportPath, stranger.Doc = "example.com/other", ""
	tests := []struct {
		name  string
		p     archtest.Package
		wrong []string
	}{
		{"good", pkg("/internal/head/mqtt", "net", "encoding/json", module, module+"/internal/wire/mqtt", "golang.org/x/sync/errgroup", "github.com/coder/websocket"), nil},
		{"root", pkg("", "time"), nil},
		{"no comment", undocumented, []string{"internal/core/x has no package comment"}},
		{"only tests", onlyTests, nil},
		{"another module", stranger, nil},
		{"no floor", pkg("/internal/attic", module+"/internal/cli"), []string{"internal/attic is on no floor"}},
		{"upward", pkg("/internal/core/x", module+"/internal/cli"), []string{"internal/cli is above internal/core"}},
		{"the root upward", pkg("", module+"/internal/lang/x"), []string{"internal/lang is above ."}},
		{"third party in a head", pkg("/internal/head/mqtt", "github.com/mochi-mqtt/server/v2/packets"), []string{"internal/head/mqtt may not import github.com/mochi-mqtt/server/v2/packets"}},
		{"third party in the root", pkg("", "golang.org/y/z"), []string{". may not import golang.org/y/z"}},
		{"third party beside the allowed", pkg("/internal/core/x", "github.com/coder/websocketry"), []string{"github.com/coder/websocketry"}},
		{"third party in its place", pkg("/internal/driver/sqlite", "modernc.org/sqlite"), nil},
		{"third party in connectors", pkg("/connector/opcua", "github.com/gopcua/opcua"), nil},
		{"third party on the command line", pkg("/internal/cli", "github.com/spf13/cobra"), nil},
		{"third party in main", pkg("/cmd/causeway", "github.com/spf13/cobra"), []string{"cmd/causeway may not import"}},
		{"test library in a suite", pkg("/internal/cloud/registry/storetest", "github.com/google/go-cmp/cmp", module+"/internal/core/eventlog/logtest"), nil},
		{"test library in the product", pkg("/internal/cloud/registry", "github.com/google/go-cmp/cmp"), []string{"internal/cloud/registry may not import github.com/google/go-cmp/cmp"}},
		{"third party in a suite", pkg("/internal/cloud/registry/storetest", "modernc.org/sqlite"), []string{"modernc.org/sqlite"}},
		{"suite in the product", pkg("/internal/app/cloud", module+"/internal/hub/hubtest"), []string{"internal/app/cloud may not import internal/hub/hubtest: it is for tests"}},
		{"cgo", pkg("/internal/driver/tpm", "C"), []string{"may not use cgo"}},
		{"several", pkg("/internal/wire/x", module+"/internal/cli", "example.com/x"), []string{"example.com/x", "internal/cli is above"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := archtest.Check(module, []archtest.Package{tt.p}, floors, others)
			if len(got) != len(tt.wrong) {
				t.Fatalf("got %v, want %q", got, tt.wrong)
			}
			for i, err := range got {
				if !strings.Contains(err.Error(), tt.wrong[i]) {
					t.Errorf("got %v, want %q", err, tt.wrong[i])
				}
			}
		})
	}
}

func TestRulesRefused(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "a b a", "a\na!", "!", "a!b", "/a", "a/"} {
		if _, err := archtest.ParseFloors(text); err == nil {
			t.Errorf("floors %q: accepted", text)
		}
	}
	for _, text := range []string{"module x", "under", "under a b", "tests", "allow x"} {
		if _, err := archtest.ParseThirdParty(text); err == nil {
			t.Errorf("third party %q: accepted", text)
		}
	}
}

// List is tried on a module of its own, in which everything is known.
func TestList(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                 "module " + module + "\n\ngo 1.26\n",
		"root.go":                "// Package causeway is here.\npackage causeway\n",
		"internal/wire/w.go":     "// Package wire is here.\npackage wire\n\nimport _ \"" + module + "/internal/cli\"\n",
		"internal/cli/c.go":      "package cli\n",
		"internal/cli/c_test.go": "package cli_test\n\nimport _ \"" + module + "/internal/wire\"\n",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	packages, err := archtest.List(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	floors, others := rules(t)
	var got []string
	for _, err := range archtest.Check(module, packages, floors, others) {
		got = append(got, err.Error())
	}
	want := []string{
		"internal/cli has no package comment; say what it knows and what it does not",
		"internal/wire may not import internal/cli: internal/cli is above internal/wire",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if _, err := archtest.List(t.Context(), filepath.Join(dir, "nowhere")); err == nil {
		t.Error("packages of a folder that is not there")
	}
}
