//go:build linux

package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const innerEnv = "CAUSEWAY_FAULTS_INNER"

// smallDisk mounts a tmpfs of the given size. Without the right to mount, the
// test runs itself again in a user namespace, where it has that right; the
// outer run reports what the inner one said and ok is false.
func smallDisk(t *testing.T, size string) (dir string, ok bool) {
	t.Helper()
	dir = t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size)
	if err == nil {
		t.Cleanup(func() {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Errorf("unmount: %v", err)
			}
		})
		return dir, true
	}
	if !errors.Is(err, unix.EPERM) || os.Getenv(innerEnv) != "" {
		unavailable(t, fmt.Sprintf("cannot mount a tmpfs: %v", err))
	}
	if err := exec.Command("unshare", "-rm", "true").Run(); err != nil {
		unavailable(t, fmt.Sprintf("neither mounting nor a user namespace is allowed here: %v", err))
	}
	bin := binary(t)
	cmd := exec.CommandContext(t.Context(), "unshare", "-rm", os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), innerEnv+"=1", "FAULTS_BINARY="+bin)
	out, err := cmd.CombinedOutput()
	t.Logf("in a user namespace:\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), "--- SKIP") {
		unavailable(t, "skipped in the user namespace too")
	}
	return "", false
}

func unavailable(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// TestFullDisk publishes until the disk is full. What does not fit must be
// refused and not acknowledged, the API must say why, reading must go on, and
// when space returns the same server must accept again, with everything
// acknowledged still there. Idle connections over AMQP live through it until the
// server is stopped.
func TestFullDisk(t *testing.T) {
	binary(t)
	disk, ok := smallDisk(t, "96m")
	if !ok {
		return
	}
	filler := filepath.Join(disk, "filler")
	if err := os.WriteFile(filler, make([]byte, 32<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, filepath.Join(disk, "data"))
	d := w.createDevice(t, "sensor")
	idlers := w.idle(t, 40) // over AMQP, through all of this
	body := strings.Repeat("x", 60<<10)
	topic := "devices/sensor/messages/events/"

	acked := 0
	publish := func() bool { // false: refused
		c, err := w.dial(d, nil)
		if err != nil {
			return false
		}
		defer c.Disconnect(0)
		for {
			tok := c.Publish(topic, 1, false, fmt.Sprintf("%06d%s", acked, body))
			if !tok.WaitTimeout(20*time.Second) || tok.Error() != nil || !c.IsConnectionOpen() {
				return false
			}
			acked++
			if acked > 4000 {
				t.Fatal("240 MB were acknowledged on a disk of 64 MB")
			}
		}
	}
	publish()
	if acked < 100 {
		t.Fatalf("only %d messages fit", acked)
	}
	atFull := acked
	publish()
	publish()
	t.Logf("full after %d messages, %d at the end", atFull, acked)

	// Reading goes on, and writing state says what is wrong or still works.
	if status, _, err := w.rest(t, "GET", "/devices/sensor", nil); err != nil || status != 200 {
		t.Errorf("reading with a full disk: %d %v", status, err)
	}
	rest, err := os.OpenFile(filepath.Join(disk, "rest"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	for { // leave nothing to the state store either
		if _, err := rest.Write(make([]byte, 4096)); err != nil {
			break
		}
	}
	rest.Close()
	created := map[string]bool{}
	sawRefusal := false
	for i := range 2000 {
		id := fmt.Sprintf("more-%d", i)
		status, body, err := w.rest(t, "PUT", "/devices/"+id, map[string]any{"deviceId": id})
		if err != nil {
			t.Fatal(err)
		}
		if status == 200 {
			created[id] = true
			continue
		}
		sawRefusal = true
		if status != 503 || !strings.Contains(strings.ToLower(string(body)), "space") {
			t.Errorf("with a full disk: %d %s; want 503 and a text that speaks of space", status, body)
		}
		break
	}
	if !sawRefusal {
		t.Error("2,000 devices were registered on a full disk")
	}

	if err := errors.Join(os.Remove(filler), os.Remove(filepath.Join(disk, "rest"))); err != nil {
		t.Fatal(err)
	}
	before := acked
	for end := time.Now().Add(30 * time.Second); acked < before+20; {
		if time.Now().After(end) {
			t.Fatalf("space returned, but nothing is accepted (%d acknowledged)", acked)
		}
		c, err := w.dial(d, nil)
		if err != nil {
			continue
		}
		for range 20 {
			tok := c.Publish(topic, 1, false, fmt.Sprintf("%06d%s", acked, body))
			if !tok.WaitTimeout(20*time.Second) || tok.Error() != nil || !c.IsConnectionOpen() {
				break
			}
			acked++
		}
		c.Disconnect(0)
	}
	idlers.restart(t)
	if status, body, err := w.rest(t, "PUT", "/devices/after", map[string]any{"deviceId": "after"}); err != nil || status != 200 {
		t.Errorf("after space returned: %d %s %v", status, body, err)
	}
	for id := range created {
		if status, _, err := w.rest(t, "GET", "/devices/"+id, nil); err != nil || status != 200 {
			t.Errorf("%s was registered and is gone: %d %v", id, status, err)
		}
	}
	next := 0
	w.stored(t, func(e event) bool {
		if e.DeviceID != d.id {
			return true
		}
		var text string
		if err := json.Unmarshal(e.Body, &text); err != nil {
			t.Fatalf("body: %v", err)
		}
		var n int
		if _, err := fmt.Sscanf(text[:6], "%06d", &n); err != nil {
			t.Fatal(err)
		}
		if n > next {
			t.Fatalf("message %d is stored before message %d", n, next)
		}
		if n == next {
			next++
		}
		return next < acked
	})
	if next < acked {
		t.Errorf("%d messages acknowledged, %d stored", acked, next)
	}
}
