package state_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/causeway-iot/causeway/internal/app/state"
)

func TestGetenvLaterWins(t *testing.T) {
	s := &state.State{Env: []string{"A=1", "B=", "A=2=3"}}
	for _, c := range []struct {
		key, want string
		ok        bool
	}{{"A", "2=3", true}, {"B", "", true}, {"C", "", false}} {
		if got, ok := s.Getenv(c.key); got != c.want || ok != c.ok {
			t.Errorf("Getenv(%s) = %q, %v; want %q, %v", c.key, got, ok, c.want, c.ok)
		}
	}
}

func TestPath(t *testing.T) {
	s := &state.State{Dir: "/home/me", Env: []string{"HOME=/home/ada"}}
	for in, want := range map[string]string{
		"":        "",
		"x":       "/home/me/x",
		"../x":    "/home/x",
		"/etc/x":  "/etc/x",
		"~/x":     "/home/ada/x",
		"dir/a.b": "/home/me/dir/a.b",
	} {
		if got := s.Path(in); got != want {
			t.Errorf("Path(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	s := &state.State{Dir: dir, Stdin: strings.NewReader("from stdin")}
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("from file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := s.ReadFile("f"); err != nil || string(b) != "from file" {
		t.Errorf("file: %q, %v", b, err)
	}
	if b, err := s.ReadFile("-"); err != nil || string(b) != "from stdin" {
		t.Errorf("stdin: %q, %v", b, err)
	}
	if _, err := s.ReadFile("none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	s.Stdin = bytes.NewReader(make([]byte, state.MaxFile+1))
	if _, err := s.ReadFile("-"); err == nil || !strings.Contains(err.Error(), "larger than 16 MiB") {
		t.Errorf("an endless input: %v", err)
	}
}

func TestWriteFileReplaces(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"one", "two"} {
		if err := state.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := state.ReadSecret(path); err != nil || got != text {
			t.Fatalf("read %q, %v; want %q", got, err, text)
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := state.WriteFile(filepath.Join(path, "below"), nil, 0o600); err == nil {
		t.Error("wrote below a file")
	}
}

func TestReadSecretRefusesOpenFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := state.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := state.ReadSecret(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("error %v does not say how to mend it", err)
	}
}

func TestLockDirIsExclusive(t *testing.T) {
	dir := t.TempDir()
	l, err := state.LockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = state.LockDir(dir)
	if locked, ok := errors.AsType[*state.LockedError](err); !ok || locked.Holder == "" || !strings.Contains(err.Error(), dir) {
		t.Errorf("second lock: %v", err)
	}
	if err := l.Unlock(); err != nil {
		t.Fatal(err)
	}
	l, err = state.LockDir(dir)
	if err != nil {
		t.Fatalf("lock after unlock: %v", err)
	}
	l.Unlock()
}
