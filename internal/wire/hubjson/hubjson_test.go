package hubjson_test

import (
	"encoding/json"
	"errors"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubjson"
)

func TestMarshal(t *testing.T) {
	for _, x := range []struct {
		v    any
		want string
	}{
		{"https://x/?a=1&b=<2>", `"https://x/?a=1&b=<2>"`},
		{"line\nend \xff", `"line\nend ` + `\ufffd"`},
		{map[string]any{"n": 1, "s": "ü"}, `{"n":1,"s":"ü"}`},
		{[]string{}, "[]"},
	} {
		b, err := hubjson.Marshal(x.v)
		if err != nil || string(b) != x.want {
			t.Errorf("%v: %s %v, want %s", x.v, b, err, x.want)
		}
		if got := hubjson.Must(x.v); string(got) != x.want {
			t.Errorf("%v: %s, want %s", x.v, got, x.want)
		}
	}
	if b, err := hubjson.Marshal(math.NaN()); err == nil {
		t.Errorf("no number: %s", b)
	}
	defer func() {
		if recover() == nil {
			t.Error("no number was encoded")
		}
	}()
	hubjson.Must(math.NaN())
}

func TestTwinError(t *testing.T) {
	for _, x := range []struct {
		err    error
		status int
		code   causeway.Code
		text   string
	}{
		{causeway.Errorf(causeway.PreconditionFailed, "op", `version "3" < 4`), 412, causeway.PreconditionFailed, `version "3" < 4`},
		{causeway.Errorf(causeway.ThrottlingException, "op", "slower"), 429, causeway.ThrottlingException, "slower"},
		{causeway.Errorf(0, "op", "no code"), 500, causeway.ServerError, "no code"},
		{errors.New("disk on fire"), 500, causeway.ServerError, causeway.MessageOf(errors.New("disk on fire"))},
	} {
		synctest.Test(t, func(t *testing.T) {
			status, body := hubjson.TwinError(x.err)
			var e hubjson.Error
			if err := json.Unmarshal(body, &e); err != nil {
				t.Fatalf("%v: %s: %v", x.err, body, err)
			}
			if status != x.status || e.ErrorCode != int(x.code) || e.Message != x.text {
				t.Errorf("%v: %d %s", x.err, status, body)
			}
			if _, other := hubjson.TwinError(x.err); e.TrackingID == "" || string(other) == string(body) {
				t.Errorf("%v: two answers with the tracking id %q", x.err, e.TrackingID)
			}
			if want := time.Now().UTC().Format("2006-01-02T15:04:05.000Z"); e.TimestampUTC != want {
				t.Errorf("%v: time %s, want %s", x.err, e.TimestampUTC, want)
			}
		})
	}
}

func TestDeviceTwin(t *testing.T) {
	got := hubjson.DeviceTwin(causeway.Twin{Desired: []byte(`{"a":1,"$version":2}`), Reported: []byte(`{"$version":1}`)})
	if want := `{"desired":{"a":1,"$version":2},"reported":{"$version":1}}`; string(got) != want {
		t.Errorf("%s, want %s", got, want)
	}
}
