package iothub_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
)

type invocation struct {
	id                causeway.Identity
	call              causeway.Call
	connect, response time.Duration
}

// answering makes the hub's devices answer, and returns what they were asked.
func (h *fakeHub) answering(res causeway.Result, err error) *invocation {
	got := &invocation{}
	h.answer = func(_ context.Context, id causeway.Identity, c causeway.Call, connect, response time.Duration) (causeway.Result, error) {
		*got = invocation{id, c, connect, response}
		return res, err
	}
	return got
}

func TestInvoke(t *testing.T) {
	for _, tc := range []struct {
		name, path, body  string
		answer            causeway.Result
		id, payload       string
		connect, response time.Duration
		want              string
	}{
		{"defaults", "/twins/d/methods", `{"methodName":"reboot"}`, causeway.Result{Status: 200}, "d", "null", 0, 30 * time.Second, `{"status":200,"payload":null}`},
		{
			"all members", "/twins/d/methods", `{"methodName":"reboot","payload":{"a":[1,"<&>"]},"responseTimeoutInSeconds":5,"connectTimeoutInSeconds":300}`,
			causeway.Result{Status: -1, Payload: []byte(`{"b": [1.50, "<"]}`)},
			"d", `{"a":[1,"<&>"]}`, 300 * time.Second, 5 * time.Second, `{"status":-1,"payload":{"b":[1.50,"<"]}}`,
		},
		{
			"null members", "/twins/d/methods", `{"methodName":"m","payload":null,"responseTimeoutInSeconds":null,"connectTimeoutInSeconds":null}`,
			causeway.Result{Status: 404, Payload: []byte(`"no"`)},
			"d", "null", 0, 30 * time.Second, `{"status":404,"payload":"no"}`,
		},
		{"module", "/twins/d/modules/m/methods", `{"methodName":"x","payload":"text"}`, causeway.Result{Status: 200, Payload: []byte("5")}, "d/m", `"text"`, 0, 30 * time.Second, `{"status":200,"payload":5}`},
		{"longest wait", "/twins/d/methods", `{"methodName":"x","responseTimeoutInSeconds":300}`, causeway.Result{}, "d", "null", 0, 300 * time.Second, `{"status":0,"payload":null}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			got := w.hub.answering(tc.answer, nil)
			if a := w.post(tc.path, tc.body).want(200); string(a.body) != tc.want {
				t.Errorf("answer %s, want %s", a.body, tc.want)
			}
			if got.id.String() != tc.id || got.id.Hub != "myhub" || string(got.call.Payload) != tc.payload || got.connect != tc.connect {
				t.Errorf("hub was asked %+v", got)
			}
			// What reading took is off, which is little here.
			if got.response > tc.response || got.response < tc.response-4*time.Second {
				t.Errorf("response wait %v, want about %v", got.response, tc.response)
			}
		})
	}
}

func TestInvokeRefused(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		code causeway.Code
	}{
		{"unknown device", causeway.Errorf(causeway.DeviceNotFound, "", "no device"), causeway.DeviceNotFound},
		{"unknown module", causeway.Errorf(causeway.ModuleNotFound, "", "no module"), causeway.ModuleNotFound},
		{"away", causeway.Errorf(causeway.DeviceNotOnline, "", "away; still"), causeway.DeviceNotOnline},
		{"no answer", causeway.Errorf(causeway.GatewayTimeout, "", "no answer"), causeway.GatewayTimeout},
		{"bad answer", causeway.Errorf(causeway.GenericBadGateway, "", "not JSON"), causeway.GenericBadGateway},
		{"connection lost", causeway.Errorf(causeway.DeviceConnectionClosedRemotely, "", "gone"), causeway.DeviceConnectionClosedRemotely},
		{"too many", causeway.Errorf(causeway.DeviceMaximumInflightMethodExceeded, "", "too many"), causeway.DeviceMaximumInflightMethodExceeded},
		{"deadline", context.DeadlineExceeded, causeway.GatewayTimeout},
		{"fault of ours", errors.New("secret detail"), causeway.ServerError},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			w.hub.answering(causeway.Result{}, tc.err)
			a := w.post("/twins/d/methods", `{"methodName":"x"}`).refused(tc.code)
			if !strings.Contains(a.text("Message"), `"errorCode":`+strconv.Itoa(int(tc.code))) {
				t.Errorf("not form B: %s", a.body)
			}
			if strings.Contains(string(a.body), "secret detail") {
				t.Errorf("cause shown to the client: %s", a.body)
			}
		})
	}
}
