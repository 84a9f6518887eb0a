package hubamqp_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	gotoken "go/token"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/hubamqp"
	"github.com/causeway-iot/causeway/wire/amqp/codec"
)

// codes reads the catalogue of the root package, so that no code is forgotten.
func codes(t *testing.T) []causeway.Code {
	t.Helper()
	f, err := parser.ParseFile(gotoken.NewFileSet(), "../../../codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []causeway.Code
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		if lit, ok := v.Values[0].(*ast.BasicLit); ok {
			c, err := strconv.Atoi(lit.Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, causeway.Code(c))
		}
		return true
	})
	if len(out) < 135 {
		t.Fatalf("%d codes in the catalogue", len(out))
	}
	return out
}

// TestConditionOfEveryCode: the condition that a client is told for each code of
// the catalogue. Codes that are not named here get that of their status.
func TestConditionOfEveryCode(t *testing.T) {
	named := map[causeway.Code]string{
		causeway.InvalidOperation:                           hubamqp.NotAllowed,
		causeway.UnsupportedOperationOnReplica:              hubamqp.NotAllowed,
		causeway.RequestCanceled:                            hubamqp.Timeout,
		causeway.RequestTimedOut:                            hubamqp.Timeout,
		causeway.ConnectionForcefullyClosedOnNewConnection:  hubamqp.LinkStolen,
		causeway.IotHubNotFound:                             hubamqp.HubNotFound,
		causeway.IotHubSuspended:                            hubamqp.HubSuspended,
		causeway.IotHubQuotaExceeded:                        hubamqp.ResourceLimit,
		causeway.JobQuotaExceeded:                           hubamqp.ResourceLimit,
		causeway.DeviceMaximumQueueDepthExceeded:            hubamqp.ResourceLimit,
		causeway.IotHubMaxCbsTokenExceeded:                  hubamqp.ResourceLimit,
		causeway.DeviceMaximumActiveFileUploadLimitExceeded: hubamqp.ResourceLimit,
		causeway.DeviceMaximumQueueSizeExceeded:             hubamqp.ResourceLimit,
		causeway.DeviceMaximumInflightMethodExceeded:        hubamqp.ResourceLimit,
		causeway.InvalidMessageExpiryTime:                   hubamqp.ArgumentError,
		causeway.DeviceDisabled:                             hubamqp.Unauthorized,
		causeway.FeatureNotSupported:                        hubamqp.NotImplemented,
		causeway.DeviceAlreadyExists:                        hubamqp.DeviceAlreadyExists,
		causeway.ModuleAlreadyExistsOnDevice:                hubamqp.DeviceAlreadyExists,
		causeway.LinkCreationConflict:                       hubamqp.LinkConflict,
		causeway.DeviceMessageLockLost:                      hubamqp.MessageLockLost,
		causeway.TooManyDevices:                             hubamqp.ResourceLimit,
		causeway.TooManyModulesOnDevice:                     hubamqp.ResourceLimit,
		causeway.ConfigurationCountLimitExceeded:            hubamqp.ResourceLimit,
		causeway.ClientClosedRequest:                        hubamqp.Timeout,
		causeway.GenericTimeout:                             hubamqp.Timeout,
		causeway.PartitionNotFound:                          hubamqp.NotFound,
		causeway.ReceiveLinkOpensThrottled:                  hubamqp.Throttled,
	}
	byStatus := map[int]string{
		400: hubamqp.ArgumentError, 401: hubamqp.Unauthorized, 403: hubamqp.NotAllowed, 404: hubamqp.NotFound, 405: hubamqp.NotAllowed,
		409: hubamqp.NotAllowed, 412: hubamqp.PreconditionFailed, 413: hubamqp.MessageSize, 415: hubamqp.ArgumentError, 429: hubamqp.Throttled,
		500: hubamqp.InternalError, 502: hubamqp.InternalError, 503: hubamqp.InternalError, 504: hubamqp.Timeout,
	}
	for _, code := range codes(t) {
		want, ok := named[code]
		if !ok {
			want, ok = byStatus[code.HTTPStatus()]
		}
		if !ok {
			t.Errorf("%v: its status %d is not in the table", code, code.HTTPStatus())
		}
		err := fmt.Errorf("wrapped: %w", causeway.Errorf(code, "op", "what %q", code))
		c := hubamqp.ConditionOf(err)
		if c.Name != want || hubamqp.ConditionName(code) != want {
			t.Errorf("%v is told as %s, want %s", code, c.Name, want)
		}
		var text struct {
			ErrorCode                         int
			TrackingID, Message, TimestampUTC string
		}
		if err := json.Unmarshal([]byte(c.Description), &text); err != nil {
			t.Fatalf("description %s: %v", c.Description, err)
		}
		if text.ErrorCode != int(code) || text.Message != fmt.Sprintf("what %q", code) || text.TrackingID == "" || text.TrackingID != hubamqp.TrackingID(c) {
			t.Errorf("description %s", c.Description)
		}
		if _, err := time.Parse("2006-01-02T15:04:05.0000000Z", text.TimestampUTC); err != nil {
			t.Error(err)
		}
		if d := cmp.Diff([]string{
			"symbol com.microsoft:tracking-id: string " + strconv.Quote(text.TrackingID),
			"symbol com.microsoft:error-code: int " + strconv.Itoa(int(code)),
		}, entries(c.Info)); d != "" {
			t.Errorf("info (-want +got):\n%s", d)
		}
		// The client gets the code back, from either place.
		back := hubamqp.ErrorOf(c)
		if causeway.CodeOf(back) != code || causeway.MessageOf(back) != text.Message || !errors.As(back, new(*codec.Condition)) {
			t.Errorf("%v comes back as %v", code, back)
		}
		if back := hubamqp.ErrorOf(&codec.Condition{Name: c.Name, Description: c.Description}); causeway.CodeOf(back) != code {
			t.Errorf("%v comes back as %v from the description", code, back)
		}
	}
}

func TestConditionKeys(t *testing.T) {
	c := hubamqp.ConditionOf(causeway.Errorf(causeway.DeviceNotFound, "op", "m"))
	for _, key := range []string{`"errorCode":404001`, `"trackingId":"`, `"message":"m"`, `"timestampUtc":"`} {
		if !strings.Contains(c.Description, key) {
			t.Errorf("%s has no %s", c.Description, key)
		}
	}
}

func TestConditionOfOthers(t *testing.T) {
	if hubamqp.ConditionOf(nil) != nil || hubamqp.ErrorOf(nil) != nil {
		t.Error("nil is not nil")
	}
	own := &codec.Condition{Name: hubamqp.LinkRedirect}
	if c := hubamqp.ConditionOf(fmt.Errorf("x: %w", own)); c != own {
		t.Errorf("a condition became %v", c)
	}
	c := hubamqp.ConditionOf(errors.New("password is 123"))
	if c.Name != hubamqp.InternalError || strings.Contains(c.Description, "123") {
		t.Errorf("an unknown error is told as %v", c)
	}
	c = hubamqp.ConditionOf(&codec.Error{Condition: codec.InvalidField, Msg: "handle is 5"})
	if c.Name != codec.InvalidField || !strings.Contains(c.Description, "handle is 5") || causeway.CodeOf(hubamqp.ErrorOf(c)) != causeway.IotHubFormatError {
		t.Errorf("wrong bytes are told as %v", c)
	}
	c = hubamqp.NewCondition(hubamqp.ConnectionForced, causeway.ServiceUnavailable, "the hub stops")
	if c.Name != hubamqp.ConnectionForced || causeway.MessageOf(hubamqp.ErrorOf(c)) != "the hub stops" {
		t.Errorf("%v", c)
	}
	if hubamqp.TrackingID(&codec.Condition{}) != "" {
		t.Error("a tracking id out of nothing")
	}
}

// Conditions of other servers have no code.
func TestErrorOfNames(t *testing.T) {
	for name, want := range map[string]causeway.Code{
		"amqp:not-found": causeway.DeviceNotFound, "amqp:unauthorized-access": causeway.IotHubUnauthorized, "amqp:not-allowed": causeway.InvalidOperation,
		"amqp:not-implemented": causeway.FeatureNotSupported, "amqp:internal-error": causeway.ServerError, "amqp:decode-error": causeway.IotHubFormatError,
		"amqp:invalid-field": causeway.IotHubFormatError, "amqp:connection:framing-error": causeway.IotHubFormatError,
		"amqp:resource-limit-exceeded": causeway.IotHubQuotaExceeded, "com.microsoft:quota-exceeded": causeway.IotHubQuotaExceeded,
		"amqp:link:message-size-exceeded": causeway.MessageTooLarge, "amqp:link:stolen": causeway.ConnectionForcefullyClosedOnNewConnection,
		"amqp:link:detach-forced": causeway.ServiceUnavailable, "amqp:connection:forced": causeway.ServiceUnavailable,
		"com.microsoft:argument-error": causeway.ArgumentInvalid, "com.microsoft:argument-out-of-range": causeway.ArgumentInvalid,
		"com.microsoft:device-container-throttled": causeway.ThrottlingException, "com.microsoft:timeout": causeway.GenericTimeout,
		"com.microsoft:message-lock-lost": causeway.DeviceMessageLockLost, "com.microsoft:precondition-failed": causeway.PreconditionFailed,
		"com.microsoft:device-already-exists": causeway.DeviceAlreadyExists, "com.microsoft:iot-hub-suspended": causeway.IotHubSuspended,
		"com.microsoft:iot-hub-not-found-error": causeway.IotHubNotFound, "com.microsoft:link-creation-conflict": causeway.LinkCreationConflict,
		"com.microsoft:server-busy": causeway.ServerBusy, "something:else": causeway.ServerError,
	} {
		err := hubamqp.ErrorOf(&codec.Condition{Name: name, Description: "free text"})
		if causeway.CodeOf(err) != want || causeway.MessageOf(err) != "free text" {
			t.Errorf("%s is %v, want %v", name, err, want)
		}
		if err := hubamqp.ErrorOf(&codec.Condition{Name: name}); causeway.MessageOf(err) != name {
			t.Errorf("%s without a description: %v", name, err)
		}
	}
	// A code that is no code does not count.
	for _, v := range []codec.Value{codec.Int(7), codec.Long(1 << 40), codec.String("404001"), codec.Int(-404001)} {
		c := &codec.Condition{Name: "amqp:not-found", Info: codec.NewMap(codec.Symbol("com.microsoft:error-code"), v)}
		if code := causeway.CodeOf(hubamqp.ErrorOf(c)); code != causeway.DeviceNotFound {
			t.Errorf("error code %v is %v", v, code)
		}
	}
}

func TestRedirect(t *testing.T) {
	c := hubamqp.Redirect("ns.example.com", 5671, "hub-events", "ConsumerGroups/$Default/Partitions/0")
	if c.Name != "amqp:link:redirect" || hubamqp.TrackingID(c) == "" || !strings.Contains(c.Description, hubamqp.TrackingID(c)) {
		t.Errorf("%v", c)
	}
	if d := cmp.Diff([]string{
		`symbol hostname: string "ns.example.com"`,
		`symbol network-host: string "ns.example.com"`,
		`symbol port: uint 5671`,
		`symbol address: ` + codec.String("amqps://ns.example.com:5671/hub-events/ConsumerGroups/$Default/Partitions/0").Kind().String() + " " +
			codec.String("amqps://ns.example.com:5671/hub-events/ConsumerGroups/$Default/Partitions/0").String(),
	}, entries(c.Info)[:4]); d != "" {
		t.Errorf("info (-want +got):\n%s", d)
	}
	// The Go client takes what is after the port, but for the last character.
	c = hubamqp.Redirect("ns", 5671, "eh", "")
	v, _ := c.Info.Lookup("address")
	if text, _ := v.Text(); text != "amqps://ns:5671/eh/" {
		t.Errorf("address %q", text)
	}
}
