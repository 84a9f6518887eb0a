package delivery_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/delivery"
	"github.com/causeway-iot/causeway/internal/core/eventlog/logtest"
	"github.com/causeway-iot/causeway/internal/driver/seglog"
)

// damage changes a byte of each place where text stands in the files of a
// directory.
func damage(t *testing.T, dir, text string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; ; {
			i := bytes.Index(b[at:], []byte(text))
			if i < 0 {
				break
			}
			b[at+i] ^= 1
			at, found = at+i+len(text), true
		}
		if err := os.WriteFile(f, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if !found {
		t.Fatalf("%q is in no file of %s", text, dir)
	}
}

// A queue whose last message, or all of them, the disk has spoiled opens all the
// same, and goes on with what is there and with what comes.
func TestDamagedQueue(t *testing.T) {
	for name, c := range map[string]struct {
		spoilt []string
		want   []int
	}{
		"the last":  {[]string{"text-7"}, []int{5, 6, 8}},
		"the first": {[]string{"text-5"}, []int{6, 7, 8}},
		"all":       {[]string{"text-5", "text-6", "text-7"}, []int{8}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			device := deviceIn(1)
			s := onDisk(t, dir)
			stuck := &sink{hang: true}
			q, err := s.Set(t.Context(), "web", stuck, delivery.Policy{})
			if err != nil {
				t.Fatal(err)
			}
			for n := 5; n <= 7; n++ {
				m := message(device, n)
				m.ID = "text-" + string(m.Body)
				if err := q.Append(t.Context(), m); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			for _, text := range c.spoilt {
				damage(t, filepath.Join(dir, "web"), text)
			}

			s = onDisk(t, dir)
			got := make(chan string, 16)
			to := &sink{on: func(batch []causeway.Message) error {
				for i := range batch {
					got <- string(batch[i].Body)
				}
				return nil
			}}
			if q, err = s.Set(t.Context(), "web", to, delivery.Policy{}); err != nil {
				t.Fatal(err)
			}
			send(t, q, 8, 8, device)
			for _, want := range c.want {
				if n := <-got; n != strconv.Itoa(want) {
					t.Errorf("message %s was sent, want %d", n, want)
				}
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if st := q.Status(); st.Waiting != 0 || len(got) != 0 {
				t.Errorf("%d messages wait, %d more were sent", st.Waiting, len(got))
			}
		})
	}
}

// Dead letters are listed and purged though the last of them is spoilt.
func TestDamagedDeadLetters(t *testing.T) {
	dir := t.TempDir()
	open := func() (*delivery.Service, *delivery.Queue) {
		t.Helper()
		letters, err := seglog.Open(dir, seglog.Options{Partitions: 1})
		if err != nil {
			t.Fatal(err)
		}
		s, err := delivery.New(delivery.Options{
			Hub: "plant", DeadLetters: letters, Remove: func(string) error { return nil },
			Queue: func(string) (delivery.Log, error) { return logtest.NewMemory(1), nil },
		})
		if err != nil {
			t.Fatal(err)
		}
		q, err := s.Set(t.Context(), "web", &sink{}, delivery.Policy{MaxMessages: 100})
		if err != nil {
			t.Fatal(err)
		}
		return s, q
	}
	s, q := open()
	var batch []causeway.Message // the queue holds the first hundred
	for n := range 201 {
		batch = append(batch, message("d", n))
	}
	batch[200].ID = "text-200"
	if err := q.Append(t.Context(), batch...); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damage(t, dir, "text-200")

	s, _ = open()
	if letters := dead(t, s, "web"); len(letters) != 100 || string(letters[99].Message.Body) != "199" {
		t.Errorf("%d dead letters, want the 100 that are not spoilt", len(letters))
	}
	if err := s.Purge(t.Context(), "web"); err != nil {
		t.Fatal(err)
	}
	if letters := dead(t, s, "web"); len(letters) != 0 {
		t.Errorf("%d dead letters after a purge", len(letters))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
