package client

import (
	"errors"
	"testing"
	"testing/synctest"
)

// TestTwinOfALostLink: a link that was lost before anything was asked for answers
// nothing, and is not waited for.
func TestTwinOfALostLink(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := newDevice(DeviceOptions{ConnectionString: "HostName=h;DeviceId=d;SharedAccessKey=a2V5"})
		if err != nil {
			t.Fatal(err)
		}
		d.ctx = t.Context()
		tr := &mqttTransport{d: d, subacks: map[uint16]chan bool{}}
		l := &mqttLink{t: tr, d: d, err: ErrOffline, done: make(chan struct{}), wake: make(chan struct{}, 1)}
		close(l.done)
		if err := l.wantTwin(t.Context()); !errors.Is(err, ErrOffline) || len(tr.subacks) != 0 || d.twinWanted {
			t.Errorf("%v, %d wait", err, len(tr.subacks))
		}
	})
}
