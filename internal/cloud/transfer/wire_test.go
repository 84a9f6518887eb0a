package transfer_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/cloud/transfer"
)

func TestRequest(t *testing.T) {
	long := strings.Repeat("x", 2000)
	for _, x := range []struct {
		name, body string
		code       causeway.Code
	}{
		{"an export", `{"jobId":"mine","status":"failed","type":"Export","outputBlobContainerUri":"u","inputBlobContainerUri":null,"excludeKeysInExport":true}`, 0},
		{"an import", `{"type":"import","inputBlobContainerUri":"u","outputBlobContainerUri":"v","inputBlobName":"a/b.txt","storageAuthenticationType":"KeyBased"}`, 0},
		{"no type", `{}`, causeway.ArgumentInvalid},
		{"another type", `{"type":"backup"}`, causeway.ArgumentInvalid},
		{"no output", `{"type":"export"}`, causeway.ArgumentNull},
		{"no input", `{"type":"import","outputBlobContainerUri":"u"}`, causeway.ArgumentNull},
		{"identity", `{"type":"export","outputBlobContainerUri":"u","storageAuthenticationType":"identityBased"}`, causeway.ManagedIdentityNotEnabled},
		{"another authentication", `{"type":"export","outputBlobContainerUri":"u","storageAuthenticationType":"none"}`, causeway.ArgumentInvalid},
		{"a long name", `{"type":"export","outputBlobContainerUri":"u","outputBlobName":"` + long + `"}`, causeway.ArgumentInvalid},
		{"a name that climbs", `{"type":"import","inputBlobContainerUri":"u","inputBlobName":"a/../b"}`, causeway.ArgumentInvalid},
		{"a name with a backslash", `{"type":"import","inputBlobContainerUri":"u","inputBlobName":"a\\b"}`, causeway.ArgumentInvalid},
		{"a name with a control character", `{"type":"import","inputBlobContainerUri":"u","inputBlobName":"a\u0001"}`, causeway.ArgumentInvalid},
		{"one name for two", `{"type":"export","outputBlobContainerUri":"u","includeConfigurations":true,"outputBlobName":"configurations.txt"}`, causeway.ArgumentInvalid},
		{"a long address", `{"type":"export","outputBlobContainerUri":"` + long + long + long + `"}`, causeway.ArgumentInvalid},
	} {
		t.Run(x.name, func(t *testing.T) {
			var r transfer.Request
			if err := json.Unmarshal([]byte(x.body), &r); err != nil {
				t.Fatal(err)
			}
			j, err := r.Job(hubName, time.Now())
			if causeway.CodeOf(err) != x.code {
				t.Errorf("%+v, %v, want %v", j, err, x.code)
			}
			if err == nil && (len(j.ID) != 36 || j.ID == "mine") {
				t.Errorf("id %q", j.ID)
			}
		})
	}
}

// FuzzRequest: whatever a caller asks for, it is a job or an error that is the
// caller's fault.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"type":"export","outputBlobContainerUri":"https://x/y?sig=1","outputBlobName":"a//b"}`))
	f.Add([]byte(`{"type":"import","inputBlobContainerUri":"%zz","inputBlobName":"\ufffd","configurationsBlobName":"."}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var r transfer.Request
		if json.Unmarshal(body, &r) != nil {
			return
		}
		j, err := r.Job(hubName, time.Now())
		if err == nil {
			_, err = transfer.HTTPS{}.Open(j.Output)
			if b, merr := j.MarshalJSON(); merr != nil || strings.Contains(string(b), "sig=") && !strings.Contains(transfer.Redact(j.Output)+j.OutputName+j.InputName+transfer.Redact(j.Input)+j.ConfigurationsName, "sig=") {
				t.Fatalf("%s: %s, %v", body, b, merr)
			}
		}
		if s := causeway.CodeOf(err).HTTPStatus(); err != nil && (s < 400 || s > 499 || causeway.MessageOf(err) == "") {
			t.Fatalf("%s: %v", body, err)
		}
	})
}
