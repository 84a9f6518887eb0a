package dirblob_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/causeway-iot/causeway/internal/core/blob"
	"github.com/causeway-iot/causeway/internal/driver/dirblob"
)

// killedDir names the directory in which the test binary, started again, is
// the process to be killed.
const killedDir = "DIRBLOB_TEST_KILLED_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(killedDir); dir != "" {
		if err := beKilled(dir); err != nil {
			fmt.Println("error:", err)
		}
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// writers are the ways of writing that a kill interrupts. Version n of a blob
// is text of n lines; to append is to add one.
const writers = 4

func lines(from, to int) string {
	var b strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&b, "line %d of a blob that a crash must not tear\n", i)
	}
	return b.String()
}

// most is how many lines a blob gets before it begins anew.
const most = 200

// beKilled writes blobs in every way and says on standard output what was
// acknowledged, until it is killed.
func beKilled(dir string) error {
	s, err := dirblob.Open(dir, dirblob.Options{})
	if err != nil {
		return err
	}
	ctx := context.Background()
	if err := s.Create(ctx, "first"); err != nil && !errors.Is(err, blob.ErrExists) {
		return err
	}
	b := s.Container("first")
	fmt.Println("ready")
	var out sync.Mutex
	failed := make(chan error, writers)
	for w := range writers {
		go func() {
			for n := 0; ; n = (n + 1) % most {
				if err := writeOne(ctx, b, w, n); err != nil {
					failed <- fmt.Errorf("writer %d: %w", w, err)
					return
				}
				out.Lock()
				fmt.Println("ack", w, n)
				out.Unlock()
			}
		}()
	}
	return <-failed
}

// writeOne makes version n of the blob of a writer.
func writeOne(ctx context.Context, b blob.Bucket, w, n int) error {
	name := fmt.Sprintf("dir/%d", w)
	var err error
	switch w {
	case 0:
		_, err = b.Put(ctx, name, strings.NewReader(lines(0, n)), blob.Options{})
	case 1:
		if n == 0 {
			_, err = b.Put(ctx, name, strings.NewReader(""), blob.Options{Kind: blob.Append})
		} else {
			_, err = b.Append(ctx, name, []byte(lines(n-1, n)), -1, nil)
		}
	case 2:
		var list []blob.Ref
		for i := range min(n, 3) {
			id := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%04d", i))
			if err := b.Stage(ctx, name, id, strings.NewReader(lines(i*n/3, (i+1)*n/3)), nil); err != nil {
				return err
			}
			list = append(list, blob.Ref{ID: id, From: blob.Staged})
		}
		if n < 3 {
			_, err = b.Put(ctx, name, strings.NewReader(lines(0, n)), blob.Options{})
		} else {
			_, err = b.Commit(ctx, name, list, blob.Options{})
		}
	case 3: // comes and goes, its directory with it
		if n%2 == 0 {
			_, err = b.Put(ctx, "gone/"+name, strings.NewReader(lines(0, n)), blob.Options{})
		} else {
			err = b.Delete(ctx, "gone/"+name, nil)
		}
	}
	return err
}

// TestKilled kills a process that writes blobs, and each time finds what was
// acknowledged last, or what came right after it, and nothing torn.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for round := range 12 {
		last := runAndKill(t, dir, round)
		s, err := dirblob.Open(dir, dirblob.Options{})
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		b := s.Container("first")
		for w, n := range last {
			if n < 0 {
				continue // nothing was acknowledged in time
			}
			name := fmt.Sprintf("dir/%d", w)
			if w == 3 {
				name = "gone/" + name
			}
			next := (n + 1) % most
			got, there := content(t, b, name)
			switch {
			case w == 3:
				// Even versions are there, odd ones are not.
				if want := n%2 == 0; there != want && there != (next%2 == 0) || there && got != lines(0, n) && got != lines(0, next) {
					t.Fatalf("round %d: after version %d, blob %s is %v, %d bytes", round, n, name, there, len(got))
				}
			case !there:
				t.Fatalf("round %d: blob %s is gone after version %d", round, name, n)
			case got != lines(0, n) && got != lines(0, next):
				t.Fatalf("round %d: blob %s has %d bytes, neither version %d nor %d", round, name, len(got), n, next)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// runAndKill returns the version each writer acknowledged last, -1 for none.
func runAndKill(t *testing.T, dir string, round int) [writers]int {
	t.Helper()
	last := [writers]int{-1, -1, -1, -1}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewScanner(stdout)
	if !in.Scan() || in.Text() != "ready" {
		t.Fatalf("round %d: the process says %q", round, in.Text())
	}
	killed := time.AfterFunc(time.Duration(40+13*round%70)*time.Millisecond, func() { cmd.Process.Kill() })
	for in.Scan() {
		var w, n int
		if strings.HasPrefix(in.Text(), "error:") {
			t.Fatalf("round %d: %s", round, in.Text())
		}
		if _, err := fmt.Sscanf(in.Text(), "ack %d %d", &w, &n); err == nil {
			last[w] = n
		}
	}
	killed.Stop()
	if err := cmd.Wait(); err == nil {
		t.Fatal("the process ended by itself")
	}
	return last
}

func content(t *testing.T, b blob.Bucket, name string) (text string, there bool) {
	t.Helper()
	r, _, err := b.Get(t.Context(), name, 0, -1)
	if errors.Is(err, blob.ErrNotFound) {
		return "", false
	}
	if err != nil {
		t.Fatalf("Get(%s): %v", name, err)
	}
	got, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read %s: %v", name, err)
	}
	return string(got), true
}
