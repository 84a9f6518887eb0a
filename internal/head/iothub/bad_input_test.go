package iothub_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/causeway-iot/causeway"
	"github.com/causeway-iot/causeway/internal/wire/sas"
)

// badInput is one row of what clients get wrong. The names are linked from
// docs/bad-input.md.
type badInput struct {
	name string
	do   request
	code causeway.Code
	says string // part of the message that tells what to mend
}

func with(header ...string) http.Header { return pairs(header) }

// deviceKey is the key of device d of the table.
var deviceKey = []byte(strings.Repeat("k", 32))

func nested(depth int) string {
	return strings.Repeat(`{"a":`, depth) + "1" + strings.Repeat("}", depth)
}

// deviceConfigured is a configuration that can be.
const deviceConfigured = `{"content":{"deviceContent":{"properties.desired.a":1}}}`

func manyQueries(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf(`"m%d":"select *"`, i)
	}
	return strings.Join(all, ",")
}

func badInputs() []badInput {
	ownerKey, _ := base64.StdEncoding.DecodeString(string(key("iothubowner")))
	soon := time.Now().Add(time.Hour)
	get := func(authorization string) request {
		return request{method: "GET", path: "/devices/d", header: with("Authorization", authorization)}
	}
	owner := token("iothubowner")
	put := func(body string, header ...string) request {
		return request{method: "PUT", path: "/devices/d", body: body, header: with(append(header, "If-Match", "*")...)}
	}
	create := func(body string) request { return request{method: "PUT", path: "/devices/new", body: body} }
	patch := func(body string, header ...string) request {
		return request{method: "PATCH", path: "/twins/d", body: body, header: with(header...)}
	}
	invoke := func(body string) request { return request{method: "POST", path: "/twins/d/methods", body: body} }
	send := func(body string, header ...string) request {
		return request{method: "POST", path: "/devices/d/messages/deviceBound", body: body, header: with(header...)}
	}
	bulk := func(body string) request { return request{method: "POST", path: "/devices", body: body} }
	rotate := func(body string) request {
		return request{method: "POST", path: "/devices/keys/regenerate", body: body}
	}
	query := func(body string, header ...string) request {
		return request{method: "POST", path: "/devices/query", body: body, header: with(header...)}
	}
	const all = `{"query":"SELECT * FROM devices"}`
	putJob := func(id, body string) request {
		return request{method: "PUT", path: "/jobs/v2/" + id, body: body}
	}
	transfer := func(body string) request { return request{method: "POST", path: "/jobs/create", body: body} }
	const unauthorized, argument, json = causeway.IotHubUnauthorized, causeway.ArgumentInvalid, causeway.DeserializationError
	return []badInput{
		// Routing.
		{"unknown host name", request{method: "GET", path: "/devices/d", host: "other.example.com"}, causeway.IotHubNotFound, "other.example.com"},
		{"missing host name", request{method: "GET", path: "/devices/d", host: ":443"}, causeway.IotHubNotFound, ""},
		{"unknown path", request{method: "GET", path: "/device/d"}, causeway.GenericNotFound, "/device/d"},
		{"unknown method", request{method: "PATCH", path: "/devices/d"}, causeway.GenericMethodNotAllowed, "PATCH"},
		{"slash hidden in an id", request{method: "GET", path: "/devices/d%2Fmodules"}, argument, "device id"},
		{"id with a space", request{method: "GET", path: "/devices/a%20b"}, argument, "device id"},
		{"id that is not UTF-8", request{method: "GET", path: "/devices/a%ff"}, argument, "device id"},
		{"id of 129 characters", request{method: "GET", path: "/devices/" + strings.Repeat("x", 129)}, argument, "128"},
		{"module id with a slash", request{method: "PUT", path: "/devices/d/modules/m%2Fn", body: "{}"}, argument, "module id"},

		// Configurations.
		{"configuration id with a capital", request{method: "PUT", path: "/configurations/Fan", body: deviceConfigured}, argument, "'F' at character 1"},
		{"configuration with another id in its body", request{method: "PUT", path: "/configurations/other", body: `{"id":"fan"}`}, argument, "in the path"},
		{"configuration of another content type", request{method: "PUT", path: "/configurations/c", body: `{"contentType":"script"}`}, argument, "assignment"},
		{"configuration whose labels are no texts", request{method: "PUT", path: "/configurations/c", body: `{"labels":{"a":1}}`}, json, "labels"},
		{"configuration with a priority below 0", request{method: "PUT", path: "/configurations/c", body: `{"priority":-1,"content":{"deviceContent":{"properties.desired.a":1}}}`}, argument, "priority is -1"},
		{"configuration without content", request{method: "PUT", path: "/configurations/c", body: `{"content":null}`}, causeway.InvalidConfigurationContent, "it is missing"},
		{"configuration that sets tags", request{method: "PUT", path: "/configurations/c", body: `{"content":{"deviceContent":{"tags.a":1}}}`}, causeway.InvalidConfigurationContent, "properties.desired"},
		{"configuration with a bad condition", request{method: "PUT", path: "/configurations/c", body: `{"content":{"deviceContent":{"properties.desired.a":1}},"targetCondition":"tags.a == 1"}`}, causeway.InvalidConfigurationTargetCondition, "column 8"},
		{"configuration with a bad metric", request{method: "PUT", path: "/configurations/c", body: `{"content":{"deviceContent":{"properties.desired.a":1}},"metrics":{"queries":{"m":"selec"}}}`}, causeway.InvalidConfigurationCustomMetricsQuery, "metric"},
		{"change of a configuration that does not exist", request{method: "PUT", path: "/configurations/c", body: deviceConfigured, header: with("If-Match", "*")}, causeway.ConfigurationNotFound, "does not exist"},
		{"list of 0 configurations", request{method: "GET", path: "/configurations?top=0"}, argument, "top"},
		{"configurations with a token that may only manage identities", request{method: "GET", path: "/configurations", header: with("Authorization", token("registryReadWrite"))}, unauthorized, "ServiceConnect"},
		{"test of a hundred and one queries", request{method: "POST", path: "/configurations/testQueries", body: `{"customMetricQueries":{` + manyQueries(101) + `}}`}, argument, "101"},
		{"applied content that is a list", request{method: "POST", path: "/devices/d/applyConfigurationContent", body: `[]`}, causeway.InvalidConfigurationContent, "object"},
		{"applied content that is cut off", request{method: "POST", path: "/devices/d/applyConfigurationContent", body: `{"deviceContent":`}, json, ""},
		{"deployment to a device that is no edge device", request{method: "POST", path: "/devices/d/applyConfigurationContent", body: manifest}, causeway.InvalidConfigurationContent, "iotEdge"},

		// api-version.
		{"missing api-version", request{method: "GET", path: "/devices/d", raw: true}, causeway.InvalidProtocolVersion, "api-version is missing"},
		{"api-version that is no date", request{method: "GET", path: "/devices/d?api-version=latest"}, causeway.InvalidProtocolVersion, "latest"},
		{"api-version with an impossible date", request{method: "GET", path: "/devices/d?api-version=2021-02-30"}, causeway.InvalidProtocolVersion, "2021-02-30"},
		{"api-version before the first", request{method: "GET", path: "/devices/d?api-version=2015-01-01"}, causeway.InvalidProtocolVersion, "2016-02-03"},
		{"api-version with a tail", request{method: "GET", path: "/devices/d?api-version=2021-04-12;x"}, causeway.InvalidProtocolVersion, ""},
		{"very long api-version", request{method: "GET", path: "/devices/d?api-version=2021-04-12-" + strings.Repeat("a", 5000)}, causeway.InvalidProtocolVersion, "…"},

		// Authorization.
		{"no Authorization header", get(""), unauthorized, "Authorization header missing"},
		{"another scheme", get("Basic dXNlcjpwYXNz"), unauthorized, "SharedAccessSignature"},
		{"bearer token", get("Bearer eyJhbGciOi.J9.x"), unauthorized, "SharedAccessSignature"},
		{"empty signature", get("SharedAccessSignature "), unauthorized, ""},
		{"signature without sr", get("SharedAccessSignature sig=AAAA&se=9999999999&skn=iothubowner"), unauthorized, ""},
		{"signature without sig", get("SharedAccessSignature sr=myhub.example.com&se=9999999999&skn=iothubowner"), unauthorized, ""},
		{"signature without se", get("SharedAccessSignature sr=myhub.example.com&sig=AAAA&skn=iothubowner"), unauthorized, ""},
		{"expiry that is no number", get("SharedAccessSignature sr=myhub.example.com&sig=AAAA&se=soon&skn=iothubowner"), unauthorized, ""},
		{"signature that is not base64", get("SharedAccessSignature sr=myhub.example.com&sig=!!&se=9999999999&skn=iothubowner"), unauthorized, ""},
		{"field given twice", get(owner + "&skn=service"), unauthorized, ""},
		{"huge token", get(owner + "&x=" + strings.Repeat("a", 100_000)), unauthorized, ""},
		{"expired token", get(tokenFor("iothubowner", hubHost, -time.Hour)), unauthorized, ""},
		{"token signed with another key", get(sas.Sign(hubHost, []byte("another key of enough bytes....."), "iothubowner", soon)), unauthorized, ""},
		{"token of an unknown policy", get(sas.Sign(hubHost, ownerKey, "nobody", soon)), unauthorized, ""},
		{"token with a changed resource", get(strings.Replace(owner, "myhub", "yourhub", 1)), unauthorized, ""},
		{"token for another host", get(tokenFor("iothubowner", "other.example.com", time.Hour)), unauthorized, ""},
		{"token for another device", get(tokenFor("iothubowner", hubHost+"/devices/e", time.Hour)), unauthorized, ""},
		{"token for part of a segment", get(tokenFor("iothubowner", hubHost+"/dev", time.Hour)), unauthorized, ""},
		{"token for a longer path", get(tokenFor("iothubowner", hubHost+"/devices/d/modules", time.Hour)), unauthorized, ""},
		{"token of a policy without the right to read", get(token("device")), unauthorized, "RegistryRead"},
		{"token of a policy without the right to write", put("{}", "Authorization", token("registryRead")), unauthorized, "RegistryWrite"},
		{"token of a policy without the right to serve", patch("{}", "Authorization", token("registryReadWrite")), unauthorized, "ServiceConnect"},
		{"device token where a policy is needed", get(sas.Sign(hubHost+"/devices/d", deviceKey, "", soon)), unauthorized, "skn"},
		{"device token for its twin over the service API", request{method: "GET", path: "/twins/d", header: with("Authorization", sas.Sign(hubHost+"/devices/d", deviceKey, "", soon))}, unauthorized, "skn"},
		{"device token of another device", request{method: "GET", path: "/devices/e/modules", header: with("Authorization", sas.Sign(hubHost+"/devices/d", deviceKey, "", soon))}, unauthorized, ""},
		{"device token signed with another key", request{method: "GET", path: "/devices/d/modules", header: with("Authorization", sas.Sign(hubHost+"/devices/d", ownerKey, "", soon))}, unauthorized, ""},
		{"device token of an unknown device", request{method: "GET", path: "/devices/ghost/modules", header: with("Authorization", sas.Sign(hubHost+"/devices/ghost", deviceKey, "", soon))}, unauthorized, ""},
		{"device token of a disabled device", request{method: "GET", path: "/devices/off/modules", header: with("Authorization", sas.Sign(hubHost+"/devices/off", deviceKey, "", soon))}, unauthorized, ""},
		{"expired device token", request{method: "GET", path: "/devices/d/modules", header: with("Authorization", sas.Sign(hubHost+"/devices/d", deviceKey, "", time.Now().Add(-time.Hour)))}, unauthorized, ""},

		// JSON.
		{"empty body", create(""), json, "empty"},
		{"body of white space", create(" \r\n"), json, "empty"},
		{"broken JSON", create("{\n  \"status\": enabled\n}"), json, "line 2, column 13"},
		{"JSON cut off", create(`{"status":"ena`), json, "line 1"},
		{"text after the JSON", create(`{} {}`), json, "column 4"},
		{"null instead of an object", create(`null`), json, "null"},
		{"array instead of an object", create(`[{}]`), json, "array"},
		{"text instead of an object", create(`"{}"`), json, "string"},
		{"number instead of text", create(`{"status":1}`), json, `"status"`},
		{"number instead of null or text", create(`{"statusReason":1}`), json, `"statusReason"`},
		{"text instead of a boolean", create(`{"capabilities":{"iotEdge":"yes"}}`), json, `"capabilities.iotEdge"`},
		{"text instead of an array", create(`{"parentScopes":"x"}`), json, `"parentScopes"`},
		{"body that is not UTF-8", create("{\"statusReason\":\"\xff\"}"), json, "column 18"},
		{"deeply nested JSON", create(strings.Repeat("[", 200_000)), json, ""},
		{"too large body", create(`{"statusReason":"` + strings.Repeat("x", causeway.MaxRequestBody) + `"}`), causeway.GenericRequestEntityTooLarge, fmt.Sprint(causeway.MaxRequestBody)},

		// Identities.
		{"device id of the body is another", create(`{"deviceId":"other"}`), argument, `"other"`},
		{"device id differs in case", create(`{"deviceId":"NEW"}`), argument, `"NEW"`},
		{"module id of the body is another", request{method: "PUT", path: "/devices/d/modules/m", body: `{"deviceId":"d","moduleId":"n"}`}, argument, `"n"`},
		{"unknown status", create(`{"status":"paused"}`), argument, "paused"},
		{"too long status reason", create(`{"statusReason":"` + strings.Repeat("x", 129) + `"}`), argument, "128"},
		{"unknown authentication type", create(`{"authentication":{"type":"password"}}`), argument, "password"},
		{"one key only", create(`{"authentication":{"symmetricKey":{"primaryKey":"AAAAAAAAAAAAAAAAAAAAAA=="}}}`), argument, "both"},
		{"key that is not base64", create(`{"authentication":{"symmetricKey":{"primaryKey":"not base64","secondaryKey":"not base64"}}}`), argument, "base64"},
		{"too short key", create(`{"authentication":{"symmetricKey":{"primaryKey":"AAAA","secondaryKey":"AAAA"}}}`), argument, "16"},
		{"key of one star", create(`{"authentication":{"symmetricKey":{"primaryKey":"*","secondaryKey":"*"}}}`), argument, "base64"},
		{"self-signed without thumbprint", create(`{"authentication":{"type":"selfSigned"}}`), argument, "thumbprint"},
		{"thumbprint that is not hexadecimal", create(`{"authentication":{"type":"selfSigned","x509Thumbprint":{"primaryThumbprint":"xyz"}}}`), argument, "hexadecimal"},
		{"unknown parent", create(`{"parentScopes":["ms-azure-iot-edge://ghost-1"]}`), causeway.InvalidDeviceScope, "ghost"},
		{"two parents", create(`{"parentScopes":["a","b"]}`), causeway.InvalidDeviceScope, ""},
		{"create what exists", request{method: "PUT", path: "/devices/d", body: `{}`}, causeway.DeviceAlreadyExists, ""},
		{"update what does not exist", request{method: "PUT", path: "/devices/new", body: `{}`, header: with("If-Match", "*")}, causeway.DeviceNotFound, ""},
		{"delete what does not exist", request{method: "DELETE", path: "/devices/new"}, causeway.DeviceNotFound, ""},
		{"reserved module id", request{method: "PUT", path: "/devices/d/modules/$mine", body: `{}`}, causeway.SystemModuleModifyUnauthorizedAccess, "$"},
		{"top of zero", request{method: "GET", path: "/devices?top=0"}, argument, "1 to 1000"},
		{"top too large", request{method: "GET", path: "/devices?top=1001"}, argument, "1 to 1000"},
		{"top that is no number", request{method: "GET", path: "/devices?top=all"}, argument, "all"},

		// Bulk operations; what is wrong with one item is in the result, see TestBulkFailures.
		{"bulk body that is an object", bulk(`{"id":"d"}`), json, "array"},
		{"bulk body that is null", bulk(`null`), json, "array"},
		{"bulk body that is empty", bulk(``), json, ""},
		{"bulk body that is cut off", bulk(`[{"id":"d"}`), json, "line 1"},
		{"bulk body that is not UTF-8", bulk("[\"\xff\"]"), json, "UTF-8"},
		{"bulk of 101 items", bulk("[" + strings.Repeat(`{"id":"new"},`, 100) + `{"id":"new"}]`), argument, "at most 100"},
		{"bulk body over 8 MiB", bulk(`[{"id":"new","tags":{"a":"` + strings.Repeat("x", 8<<20) + `"}}]`), causeway.GenericRequestEntityTooLarge, fmt.Sprint(8 << 20)},
		{"bulk with a token that may only read", request{method: "POST", path: "/devices", body: `[{"id":"new"}]`, header: with("Authorization", token("registryRead"))}, unauthorized, "RegistryWrite"},
		{"rotation without policyKey", rotate(`{"devices":[{"id":"d"}]}`), causeway.InvalidPolicyKey, "swap"},
		{"rotation of an unknown key", rotate(`{"policyKey":"third","devices":[{"id":"d"}]}`), causeway.InvalidPolicyKey, "third"},
		{"rotation without an id", rotate(`{"policyKey":"both","devices":[{"id":"d"},{}]}`), causeway.ArgumentNull, "devices[1]"},
		{"rotation of an id that is none", rotate(`{"policyKey":"both","devices":[{"id":"a b"}]}`), argument, "devices[0]"},
		{"rotation of 101 identities", rotate(`{"policyKey":"both","devices":[` + strings.Repeat(`{"id":"d"},`, 100) + `{"id":"d"}]}`), argument, "at most 100"},
		{"rotation of devices that are text", rotate(`{"policyKey":"both","devices":"d"}`), json, `"devices"`},
		{"rotation with a token that may only read", request{method: "POST", path: "/devices/keys/regenerate", body: `{"policyKey":"both","devices":[{"id":"d"}]}`, header: with("Authorization", token("registryRead"))}, unauthorized, "RegistryWrite"},

		// Queries.
		{"query that is missing", query(`{}`), causeway.ArgumentNull, `no member "query"`},
		{"query that is null", query(`{"query":null}`), causeway.ArgumentNull, `no member "query"`},
		{"query that is blank", query(`{"query":" "}`), causeway.ArgumentNull, "there is no query"},
		{"query that is wrong", query(`{"query":"SELECT * FROM devices WHERE tags.n == 5"}`), argument, "The query is invalid. Line 1, column 36"},
		{"query that is too long", query(`{"query":"SELECT * FROM devices WHERE deviceId = '` + strings.Repeat("x", 8192) + `'"}`), argument, "at most 8192"},
		{"query that is not text", query(`{"query":5}`), causeway.IotHubFormatError, "query"},
		{"query body that is not JSON", query(`SELECT * FROM devices`), causeway.IotHubFormatError, "line 1, column 1"},
		{"query body that is empty", query(``), causeway.IotHubFormatError, "empty"},
		{"query body that is a list", query(`["SELECT * FROM devices"]`), causeway.IotHubFormatError, "array"},
		{"query body that is not UTF-8", query("{\"query\":\"\xff\"}"), causeway.IotHubFormatError, "UTF-8"},
		{"page size that is no number", query(all, "x-ms-max-item-count", "ten"), argument, "ten"},
		{"page size 0", query(all, "x-ms-max-item-count", "0"), argument, "from 1"},
		{"page size below 0", query(all, "x-ms-max-item-count", "-1"), argument, "from 1"},
		{"page size beyond any", query(all, "x-ms-max-item-count", "99999999999"), argument, "99999999999"},
		{"continuation that is none", query(all, "x-ms-continuation", "hello"), argument, "not one of this service"},
		{"continuation of another query", query(all, "x-ms-continuation", strings.Repeat("A", 40)), argument, "another query"},
		{"query with a token that may not", query(all, "Authorization", token("device")), unauthorized, "RegistryRead"},

		// Etags.
		{"stale etag of a device", request{method: "PUT", path: "/devices/d", body: `{}`, header: with("If-Match", `"MQ=="`)}, causeway.PreconditionFailed, ""},
		{"stale etag at deletion", request{method: "DELETE", path: "/devices/d", header: with("If-Match", "MQ==")}, causeway.PreconditionFailed, ""},
		{"stale etag of a twin", patch(`{}`, "If-Match", `"AAAAAAAAAAk="`), causeway.PreconditionFailed, ""},
		{"weak stale etag of a twin", patch(`{}`, "If-Match", `W/"AAAAAAAAAAk="`), causeway.PreconditionFailed, ""},
		{"etag that is none", patch(`{}`, "If-Match", `"`), causeway.PreconditionFailed, ""},

		// Twins.
		{"tags that are an array", patch(`{"tags":[]}`), json, "tags"},
		{"properties that are text", patch(`{"properties":"x"}`), json, `"properties"`},
		{"desired that is a number", patch(`{"properties":{"desired":1}}`), json, "desired"},
		{"key with a dot", patch(`{"tags":{"a.b":1}}`), argument, "a.b"},
		{"key with a dollar", patch(`{"properties":{"desired":{"$a":1}}}`), argument, "$a"},
		{"key with a space", patch(`{"tags":{"a b":1}}`), argument, "a b"},
		{"key with a control character", patch(`{"tags":{"a\u0001":1}}`), argument, ""},
		{"key of 1025 bytes", patch(`{"tags":{"` + strings.Repeat("k", 1025) + `":1}}`), argument, ""},
		{"string of 4097 bytes", patch(`{"tags":{"a":"` + strings.Repeat("x", 4097) + `"}}`), argument, ""},
		{"nested too deeply", patch(`{"properties":{"desired":` + nested(causeway.MaxTwinDepth+2) + `}}`), argument, fmt.Sprint(causeway.MaxTwinDepth)},
		{"integer out of range", patch(`{"tags":{"a":4503599627370496}}`), argument, ""},
		{"null in an array", patch(`{"properties":{"desired":{"a":[null]}}}`), argument, ""},
		{"tags over 8 KB", patch(`{"tags":{` + fill(3, 3000) + `}}`), argument, "8192"},
		{"desired over 32 KB", patch(`{"properties":{"desired":{` + fill(12, 3000) + `}}}`), argument, "32768"},
		{"twin of an unknown device", request{method: "GET", path: "/twins/ghost"}, causeway.DeviceNotFound, "ghost"},
		{"twin of an unknown module", request{method: "GET", path: "/twins/d/modules/ghost"}, causeway.ModuleNotFound, "ghost"},

		// Methods.
		{"no method name", invoke(`{}`), causeway.ArgumentNull, "methodName"},
		{"empty method name", invoke(`{"methodName":""}`), causeway.ArgumentNull, "methodName"},
		{"method name that is a number", invoke(`{"methodName":1}`), json, `"methodName"`},
		{"method name of 101 characters", invoke(`{"methodName":"` + strings.Repeat("m", 101) + `"}`), argument, "100"},
		{"response time-out too short", invoke(`{"methodName":"m","responseTimeoutInSeconds":4}`), argument, "5 to 300"},
		{"response time-out too long", invoke(`{"methodName":"m","responseTimeoutInSeconds":301}`), argument, "5 to 300"},
		{"response time-out that overflows", invoke(`{"methodName":"m","responseTimeoutInSeconds":9223372036}`), argument, "5 to 300"},
		{"negative connect time-out", invoke(`{"methodName":"m","connectTimeoutInSeconds":-1}`), argument, "0 to 300"},
		{"connect time-out too long", invoke(`{"methodName":"m","connectTimeoutInSeconds":301}`), argument, "0 to 300"},
		{"connect time-out that is text", invoke(`{"methodName":"m","connectTimeoutInSeconds":"10"}`), json, `"connectTimeoutInSeconds"`},
		{"payload over 128 KB", invoke(`{"methodName":"m","payload":"` + strings.Repeat("x", causeway.MaxMethodPayload) + `"}`), causeway.MessageTooLarge, fmt.Sprint(causeway.MaxMethodPayload)},
		{"method request far too large", invoke(`{"methodName":"m","payload":"` + strings.Repeat("x", 2*causeway.MaxMethodPayload) + `"}`), causeway.GenericRequestEntityTooLarge, ""},

		// Jobs.
		{"job with a body that is an array", putJob("new", `[]`), json, "object"},
		{"job id with a slash", putJob("a%2Fb", `{}`), argument, "job id"},
		{"job id of 129 characters", putJob(strings.Repeat("j", 129), `{}`), argument, "128"},
		{"job of the name of the list", putJob("query", `{}`), argument, "listed"},
		{"job id of the body is another", putJob("new", `{"jobId":"old","queryCondition":"*"}`), argument, "old"},
		{"job without a condition", putJob("new", `{"type":"scheduleUpdateTwin","updateTwin":{"tags":{}}}`), causeway.ArgumentNull, "queryCondition"},
		{"job with a blank condition", putJob("new", `{"type":"scheduleUpdateTwin","queryCondition":"  ","updateTwin":{"tags":{}}}`), causeway.ArgumentNull, "queryCondition"},
		{"job with a condition that cannot be read", putJob("new", `{"type":"scheduleUpdateTwin","queryCondition":"SELECT * FROM devices","updateTwin":{"tags":{}}}`), argument, "WHERE"},
		{"job with a condition of 8193 characters", putJob("new", `{"type":"scheduleUpdateTwin","queryCondition":"`+strings.Repeat("x", 8193)+`"}`), argument, "8192"},
		{"job of an unknown type", putJob("new", `{"type":"rebootDevice","queryCondition":"*"}`), argument, "rebootDevice"},
		{"job without a twin", putJob("new", `{"type":"scheduleUpdateTwin","queryCondition":"*"}`), causeway.ArgumentNull, "updateTwin"},
		{"job with an empty twin", putJob("new", `{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"tags":null}}`), causeway.ArgumentNull, "neither"},
		{"job with tags no twin can have", putJob("new", `{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"tags":{"a.b":1}}}`), argument, "a.b"},
		{"job with desired that is text", putJob("new", `{"type":"scheduleUpdateTwin","queryCondition":"*","updateTwin":{"properties":{"desired":"x"}}}`), json, "desired"},
		{"job without a method", putJob("new", `{"type":"scheduleDeviceMethod","queryCondition":"*"}`), causeway.ArgumentNull, "methodName"},
		{"job with a method name of 101 characters", putJob("new", `{"type":"scheduleDeviceMethod","queryCondition":"*","cloudToDeviceMethod":{"methodName":"`+strings.Repeat("m", 101)+`"}}`), argument, "100"},
		{"job with a response time-out too short", putJob("new", `{"type":"scheduleDeviceMethod","queryCondition":"*","cloudToDeviceMethod":{"methodName":"m","responseTimeoutInSeconds":4}}`), argument, "5 to 300"},
		{"job with a payload over 128 KB", putJob("new", `{"type":"scheduleDeviceMethod","queryCondition":"*","cloudToDeviceMethod":{"methodName":"m","payload":"`+strings.Repeat("x", causeway.MaxMethodPayload)+`"}}`), causeway.MessageTooLarge, fmt.Sprint(causeway.MaxMethodPayload)},
		{"job with a start that is no time", putJob("new", `{"type":"scheduleDeviceMethod","queryCondition":"*","cloudToDeviceMethod":{"methodName":"m"},"startTime":"soon"}`), argument, "soon"},
		{"job that starts in many years", putJob("new", `{"type":"scheduleDeviceMethod","queryCondition":"*","cloudToDeviceMethod":{"methodName":"m"},"startTime":"2999-01-01T00:00:00Z"}`), argument, "366 days"},
		{"job with a negative time", putJob("new", `{"type":"scheduleDeviceMethod","queryCondition":"*","cloudToDeviceMethod":{"methodName":"m"},"maxExecutionTimeInSeconds":-1}`), argument, "maxExecutionTimeInSeconds"},
		{"job with a time that overflows", putJob("new", `{"type":"scheduleDeviceMethod","queryCondition":"*","cloudToDeviceMethod":{"methodName":"m"},"maxExecutionTimeInSeconds":9223372036854775807}`), argument, "maxExecutionTimeInSeconds"},
		{"job over 1 MiB", putJob("new", `{"x":"`+strings.Repeat("x", 1<<20)+`"}`), causeway.GenericRequestEntityTooLarge, ""},
		{"job with a token that may not serve", request{method: "PUT", path: "/jobs/v2/new", body: `{}`, header: with("Authorization", token("registryReadWrite"))}, unauthorized, "ServiceConnect"},
		{"list of jobs of an unknown type", request{method: "GET", path: "/jobs/v2/query?jobType=export"}, argument, "export"},
		{"list of jobs of an unknown status", request{method: "GET", path: "/jobs/v2/query?jobStatus=asleep"}, argument, "asleep"},
		{"list of jobs with a page of none", request{method: "GET", path: "/jobs/v2/query", header: with("x-ms-max-item-count", "0")}, argument, "x-ms-max-item-count"},
		{"list of jobs with a foreign continuation", request{method: "GET", path: "/jobs/v2/query", header: with("x-ms-continuation", "abc")}, argument, "continuation"},

		// Imports and exports; what is wrong with a file is in its list of errors.
		{"transfer of an unknown type", transfer(`{"type":"backup"}`), argument, "backup"},
		{"export without a container", transfer(`{"type":"export"}`), causeway.ArgumentNull, "outputBlobContainerUri"},
		{"import without a container", transfer(`{"type":"import"}`), causeway.ArgumentNull, "inputBlobContainerUri"},
		{"export to an address that is not https", transfer(`{"type":"export","outputBlobContainerUri":"http://169.254.169.254/latest?sig=x"}`), causeway.BlobContainerValidationError, "https://"},
		{"export to an address without a signature", transfer(`{"type":"export","outputBlobContainerUri":"https://a.example/c"}`), causeway.BlobContainerValidationError, "sig"},
		{"export to an address of 5000 bytes", transfer(`{"type":"export","outputBlobContainerUri":"https://a.example/c?sig=` + strings.Repeat("x", 5000) + `"}`), argument, "4096"},
		{"export to a name that climbs", transfer(`{"type":"export","outputBlobContainerUri":"https://a.example/c?sig=x","outputBlobName":"../x"}`), argument, ".."},
		{"export by an identity", transfer(`{"type":"export","outputBlobContainerUri":"https://a.example/c?sig=x","storageAuthenticationType":"identityBased"}`), causeway.ManagedIdentityNotEnabled, "shared access signature"},
		{"transfer that is an array", transfer(`[]`), json, "object"},
		{"transfer over 64 KiB", transfer(`{"x":"` + strings.Repeat("x", 64<<10) + `"}`), causeway.GenericRequestEntityTooLarge, ""},
		{"transfer with a token that may only read", request{method: "POST", path: "/jobs/create", body: `{}`, header: with("Authorization", token("registryRead"))}, unauthorized, "RegistryWrite"},
		{"transfers with a token that may only serve", request{method: "GET", path: "/jobs", header: with("Authorization", token("service"))}, unauthorized, "RegistryRead"},
		{"transfer that is not there", request{method: "GET", path: "/jobs/ghost"}, causeway.JobNotFound, "ghost"},
		{"cancel a transfer that is not there", request{method: "DELETE", path: "/jobs/ghost"}, causeway.JobNotFound, "ghost"},
		{"old export without an account", request{method: "POST", path: "/$admin/exportRegistry", body: `{"containerName":"c","storageConnectionString":"x=y"}`}, argument, "AccountName"},
		{"old import without a container", request{method: "POST", path: "/%24admin/importRegistry", body: `{}`}, causeway.ArgumentNull, "containerName"},

		// Commands.
		{"command over 64 KB", send(strings.Repeat("x", causeway.MaxCommandSize+1)), causeway.MessageTooLarge, fmt.Sprint(causeway.MaxCommandSize)},
		{"command over 64 KB with its properties", send(strings.Repeat("x", causeway.MaxCommandSize), "iothub-app-a", "1"), causeway.MessageTooLarge, ""},
		{"unknown acknowledgement", send("x", "iothub-ack", "maybe"), argument, "maybe"},
		{"expiry that is no time", send("x", "iothub-expiry", "tomorrow"), argument, "tomorrow"},
		{"expiry beyond two days", send("x", "iothub-expiry", time.Now().Add(72*time.Hour).UTC().Format(time.RFC3339)), causeway.InvalidMessageExpiryTime, ""},
		{"message id of 129 characters", send("x", "iothub-messageid", strings.Repeat("m", 129)), argument, "128"},
		{"message id with a space", send("x", "iothub-messageid", "a b"), argument, ""},
		{"command to an unknown device", request{method: "POST", path: "/devices/ghost/messages/deviceBound"}, causeway.DeviceNotFound, "ghost"},
		{"feedback with the token of a device policy", request{method: "GET", path: "/messages/serviceBound/feedback", header: with("Authorization", token("device"))}, unauthorized, "ServiceConnect"},
		{"feedback with the token of a device", request{method: "GET", path: "/messages/serviceBound/feedback", header: with("Authorization", sas.Sign(hubHost+"/devices/d", deviceKey, "", soon))}, unauthorized, "skn"},
		{"feedback lock that is none", request{method: "DELETE", path: "/messages/serviceBound/feedback/abc"}, argument, "abc"},
		{"feedback lock of zeros", request{method: "POST", path: "/messages/serviceBound/feedback/00000000-0000-0000-0000-000000000000/abandon"}, argument, ""},
		{"feedback lock that is gone", request{method: "DELETE", path: "/messages/serviceBound/feedback/00000000-0000-0000-0000-000000000001"}, causeway.DeviceMessageLockLost, ""},
		{"feedback lock that is gone, abandoned", request{method: "POST", path: "/messages/serviceBound/feedback/00000000-0000-0000-0000-000000000001/abandon"}, causeway.DeviceMessageLockLost, ""},
		{"feedback sent to the hub", request{method: "POST", path: "/messages/serviceBound/feedback", body: "[]"}, causeway.GenericMethodNotAllowed, "GET"},
	}
}

// fill returns n members with strings of a length.
func fill(n, length int) string {
	members := make([]string, n)
	for i := range members {
		members[i] = fmt.Sprintf(`"k%d":"%s"`, i, strings.Repeat("x", length))
	}
	return strings.Join(members, ",")
}

// TestBadInput holds the answers to wrong requests to their codes, and checks
// that none of them changed anything.
func TestBadInput(t *testing.T) {
	for _, tc := range badInputs() {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t)
			k := base64.StdEncoding.EncodeToString(deviceKey)
			body := `{"authentication":{"symmetricKey":{"primaryKey":"` + k + `","secondaryKey":"` + k + `"}}}`
			w.put("/devices/d", body).want(200)
			w.put("/devices/e", body).want(200)
			w.put("/devices/off", body).want(200)
			w.put("/devices/off", `{"status":"disabled"}`, "If-Match", "*").want(200)
			device, twin := w.get("/devices/d").body, w.get("/twins/d").body

			a := w.do(tc.do).refused(tc.code)
			if msg := strings.ReplaceAll(a.text("Message"), `\"`, `"`); !strings.Contains(msg, tc.says) {
				t.Errorf("message %q does not say %q", msg, tc.says)
			}
			if len(a.body) > 2000 {
				t.Errorf("an error of %d bytes", len(a.body))
			}
			if got := w.get("/devices/d").body; string(got) != string(device) {
				t.Errorf("device changed: %s\nwas %s", got, device)
			}
			if got := w.get("/twins/d").body; string(got) != string(twin) {
				t.Errorf("twin changed: %s\nwas %s", got, twin)
			}
			w.get("/devices/new").refused(causeway.DeviceNotFound)
		})
	}
}
