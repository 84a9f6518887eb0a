package archtest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
)

// Package is what the go command says about a package, as far as it matters.
type Package struct {
	ImportPath string
	Doc        string   // first sentence of the package comment
	GoFiles    []string // without tests
	CgoFiles   []string
	Imports    []string // without those of tests
	Module     *struct{ Path string }
}

// List returns the packages of the module in dir that can be built here. A
// package that does not compile is listed with what can be told of it.
func List(ctx context.Context, dir string) ([]Package, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-e", "-json=ImportPath,Doc,GoFiles,CgoFiles,Imports,Module", "./...")
	cmd.Dir = dir
	var problems bytes.Buffer
	cmd.Stderr = &problems
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w: %s", err, bytes.TrimSpace(problems.Bytes()))
	}
	return decode(bytes.NewReader(out))
}

// decode reads JSON objects that follow each other.
func decode(r io.Reader) ([]Package, error) {
	var packages []Package
	for d := json.NewDecoder(r); ; {
		var p Package
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, fmt.Errorf("read what go list says: %w", err)
		}
		packages = append(packages, p)
	}
}

// Check holds packages of the module called module against the rules and returns
// all that is wrong, sorted.
func Check(module string, packages []Package, floors Floors, others ThirdParty) []error {
	var wrong []error
	for _, p := range packages {
		from, ours := relative(module, p.ImportPath)
		if !ours || len(p.GoFiles)+len(p.CgoFiles) == 0 { // only tests live there
			continue
		}
		if strings.TrimSpace(p.Doc) == "" {
			wrong = append(wrong, fmt.Errorf("%s has no package comment; say what it knows and what it does not", from))
		}
		if _, ok := floors.find(from); !ok {
			wrong = append(wrong, fmt.Errorf("%s is on no floor; add its wing to floors.txt", from))
			continue
		}
		for _, imported := range p.Imports {
			var err error
			if to, ours := relative(module, imported); ours {
				if err = floors.Check(from, to); err == nil && suite(to) && !suite(from) {
					err = fmt.Errorf("%s may not import %s: it is for tests", from, to)
				}
			} else if imported == "C" {
				err = fmt.Errorf("%s may not use cgo: the binary is static", from)
			} else if !standard(imported) {
				err = others.Check(from, imported)
			}
			if err != nil {
				wrong = append(wrong, err)
			}
		}
	}
	slices.SortFunc(wrong, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return wrong
}

// relative returns an import path relative to the module, "." for its root.
func relative(module, path string) (string, bool) {
	if path == module {
		return ".", true
	}
	return strings.CutPrefix(path, module+"/")
}

// standard reports whether path is of the standard library: the first element of
// any other has a dot.
func standard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
