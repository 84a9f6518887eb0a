package cloud_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/client"
	"github.com/causeway-iot/causeway/internal/app/cloud"
	"github.com/causeway-iot/causeway/internal/app/config"
	"github.com/causeway-iot/causeway/internal/core/attestation"
	"github.com/causeway-iot/causeway/internal/core/pki"
	"github.com/causeway-iot/causeway/internal/wire/tpm2/tpm2test"
)

// foreign is a client of a language that has no package to test with: its requests,
// to the letter, as its source has them.
type foreign struct {
	version string
	headers [][2]string // of every request, as spelled
	body    string      // of a registration; %s is its id, and what it has of a TPM
	repeats bool        // what it has of a TPM, with its token
	// token signs for a registration.
	token func(scope, id string, key []byte) string
}

// foreigners are the IoT Edge identity service (aziot-identityd; release 1.1 and what
// came later) and the device SDK for C.
var foreigners = map[string]foreign{
	"identity service 1.1": {
		version: "2018-11-01", headers: [][2]string{{"content-type", "application/json"}}, body: `{"registrationId":"%s"%s}`, repeats: true, token: lowered,
	},
	"identity service 1.4": {
		version: "2021-11-01-preview", headers: [][2]string{{"content-type", "application/json"}}, body: `{"registrationId":"%s"%s}`, token: lowered,
	},
	"C": {
		version: "2021-06-01",
		headers: [][2]string{{"UserAgent", "prov_device_client/1.0"}, {"Accept", "application/json"}, {"Content-Type", "application/json; charset=utf-8"}},
		body:    `{"registrationId":"%s"%s}`, repeats: true, token: lowEscapes,
	},
}

func signed(resource string, expiry int64, key []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s\n%d", resource, expiry)
	return url.QueryEscape(base64.StdEncoding.EncodeToString(mac.Sum(nil)))
}

// lowered is the token of the identity service: all of the resource in lower case, and
// valid for half a minute.
func lowered(scope, id string, key []byte) string {
	resource := strings.ReplaceAll(strings.ToLower(scope+"/registrations/"+id), "/", "%2F")
	expiry := time.Now().Add(30 * time.Second).Unix()
	return fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d&skn=registration", resource, signed(resource, expiry, key), expiry)
}

// lowEscapes is the token of C: escapes are in lower case.
func lowEscapes(scope, id string, key []byte) string {
	resource := scope + "%2fregistrations%2f" + id
	expiry := time.Now().Add(time.Hour).Unix()
	return fmt.Sprintf("SharedAccessSignature sr=%s&sig=%s&se=%d&skn=registration", resource, signed(resource, expiry, key), expiry)
}

// send sends a request as f does and returns what comes back.
func (r *running) send(f foreign, tr *http.Transport, method, path, token, body string) (int, []byte) {
	r.t.Helper()
	var content io.Reader = http.NoBody
	if body != "" {
		content = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(r.t.Context(), method, fmt.Sprintf("https://localhost:%d%s?api-version=%s", r.Connection().HTTPSPort, path, f.version), content)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, h := range f.headers {
		req.Header[h[0]] = []string{h[1]}
	}
	if token != "" {
		req.Header["authorization"] = []string{token}
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	if !strings.Contains(res.Header.Get("Content-Type"), "application/json") {
		r.t.Errorf("%s %s: %s", method, path, res.Header.Get("Content-Type"))
	}
	return res.StatusCode, b
}

// outcome reads the answer to a question as the identity service does: by its
// status, with all that goes with it.
func outcome(b []byte) (done bool, hub, device, tpm string, err error) {
	var a struct {
		Status string `json:"status"`
		State  *struct {
			ID     *string `json:"registrationId"`
			Hub    *string `json:"assignedHub"`
			Device *string `json:"deviceId"`
			TPM    *struct {
				Key *string `json:"authenticationKey"`
			} `json:"tpm"`
		} `json:"registrationState"`
	}
	if err := json.Unmarshal(b, &a); err != nil || a.State == nil {
		return false, "", "", "", fmt.Errorf("%s: %w", b, err)
	}
	switch {
	case a.Status == "assigning" && a.State.ID != nil:
		return false, "", "", "", nil
	case a.Status == "assigned" && a.State.Hub != nil && a.State.Device != nil:
		if a.State.TPM != nil {
			if a.State.TPM.Key == nil {
				return false, "", "", "", fmt.Errorf("%s has a TPM without its key", b)
			}
			tpm = *a.State.TPM.Key
		}
		return true, *a.State.Hub, *a.State.Device, tpm, nil
	}
	return false, "", "", "", fmt.Errorf("%s", b)
}

// TestForeignClients provisions devices as the identity service and the SDK for C do,
// by every kind of proof. Then they send to their hub.
func TestForeignClients(t *testing.T) {
	cfg := configFor(filepath.Join(t.TempDir(), "data"))
	cfg.Provisioning = []config.Provisioning{{Name: "dps", Hosts: []string{"localhost"}}}
	r := start(t, cfg, cloud.Options{Group: "devices"})
	conn := r.Connection()
	scope := conn.DPSIDScope
	for name, f := range foreigners {
		for _, kind := range []string{"Key", "Group", "Certificate", "TPM"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				// Mixed case: tokens may have all of it in lower case.
				id := fmt.Sprintf("%s-%x", kind, sha256.Sum256([]byte(name)))[:20]
				tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.options().RootCAs}}
				defer func() { tr.CloseIdleConnections() }()
				enroll := func(attestation string) []byte {
					t.Helper()
					status, b := r.send(f, tr, "PUT", "/enrollments/"+id, serviceToken(t, conn.DPSServiceConnectionString), `{"registrationId":"`+id+`","attestation":`+attestation+`}`)
					if status != http.StatusOK {
						t.Fatalf("enroll: %d %s", status, b)
					}
					return b
				}
				path := "/" + scope + "/registrations/" + id
				body := fmt.Sprintf(f.body, id, "")
				var key []byte // that signs for the registration
				var tpm *tpm2test.TPM
				var cert tls.Certificate
				switch kind {
				case "Key":
					var e struct {
						Attestation struct {
							SymmetricKey struct{ PrimaryKey []byte }
						}
					}
					if err := json.Unmarshal(enroll(`{"type":"symmetricKey"}`), &e); err != nil {
						t.Fatal(err)
					}
					key = e.Attestation.SymmetricKey.PrimaryKey
				case "Group":
					k, err := attestation.DeriveKey(causeway.Secret(conn.DPSGroupKey), id)
					if err != nil {
						t.Fatal(err)
					}
					if key, err = base64.StdEncoding.DecodeString(string(k)); err != nil {
						t.Fatal(err)
					}
				case "Certificate":
					var err error
					if cert, err = pki.SelfSigned(id, time.Hour); err != nil {
						t.Fatal(err)
					}
					text, err := json.Marshal(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]})))
					if err != nil {
						t.Fatal(err)
					}
					enroll(`{"type":"x509","x509":{"clientCertificates":{"primary":{"certificate":` + string(text) + `}}}}`)
					tr.CloseIdleConnections()
					tr = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: r.options().RootCAs, Certificates: []tls.Certificate{cert}}}
				case "TPM":
					tpm = tpm2test.New(t)
					b64 := base64.StdEncoding.EncodeToString
					enroll(`{"type":"tpm","tpm":{"endorsementKey":"` + b64(tpm.EndorsementKey()) + `"}}`)
					keys := `,"tpm":{"endorsementKey":"` + b64(tpm.EndorsementKey()) + `","storageRootKey":"` + b64(tpm.StorageRootKey()) + `"}`
					status, b := r.send(f, tr, "PUT", path+"/register", "", fmt.Sprintf(f.body, id, keys))
					// C takes it for a challenge when there is no status, and wants both.
					var c map[string]any
					if err := json.Unmarshal(b, &c); err != nil || status != http.StatusUnauthorized || c["status"] != nil || c["keyName"] != "registration" {
						t.Fatalf("challenge: %d %s", status, b)
					}
					key = activate(t, tpm, fmt.Sprint(c["authenticationKey"]))
					if f.repeats {
						body = fmt.Sprintf(f.body, id, keys)
					}
				}
				token := ""
				if kind != "Certificate" {
					token = f.token(scope, id, key)
				}
				status, b := r.send(f, tr, "PUT", path+"/register", token, body)
				var op struct {
					ID     string `json:"operationId"`
					Status string `json:"status"`
				}
				if err := json.Unmarshal(b, &op); err != nil || status != http.StatusAccepted || op.ID == "" || op.Status != "assigning" {
					t.Fatalf("register: %d %s", status, b)
				}
				var hub, device, blob string
				for done, end := false, time.Now().Add(patience); !done; {
					status, b = r.send(f, tr, "GET", path+"/operations/"+op.ID, token, "")
					var err error
					if done, hub, device, blob, err = outcome(b); err != nil || time.Now().After(end) {
						t.Fatalf("outcome: %d, %v", status, err)
					}
				}
				if status != http.StatusOK || hub != "localhost" || device != id || (blob != "") != (tpm != nil) {
					t.Fatalf("outcome: %d %s", status, b)
				}
				o, cs := client.DeviceOptions{}, "HostName="+hub+";DeviceId="+device+";"
				switch {
				case tpm != nil:
					cs += "SharedAccessKey=" + base64.StdEncoding.EncodeToString(activate(t, tpm, blob))
				case cert.Certificate != nil:
					cs += "x509=true"
					o.Certificate = &cert
				default:
					cs += "SharedAccessKey=" + base64.StdEncoding.EncodeToString(key)
				}
				if err := r.device(cs, o).Send(t.Context(), &causeway.Message{Body: []byte(name)}); err != nil {
					t.Fatal(err)
				}
				if got := r.bodies(device, 1); !bytes.Equal([]byte(got[0]), []byte(name)) {
					t.Errorf("the hub has %q", got)
				}
			})
		}
	}
}

func activate(t *testing.T, tpm *tpm2test.TPM, blob string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(blob)
	if err != nil {
		t.Fatal(err)
	}
	key, err := tpm.Activate(b)
	if err != nil {
		t.Fatal(err)
	}
	return key
}
