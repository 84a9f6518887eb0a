package envelope

// dictionaryApplies is the set of texts whose common values are written as an
// index into dictionary.
const dictionaryApplies = 1<<textAuth | 1<<textSource | 1<<textContentType |
	1<<textContentEncoding | 1<<textAck

// dictionary holds texts that nearly every message carries. It is part of the
// format: append only; a reader that does not know an index calls the message
// malformed, so a longer dictionary needs a new version. The words are spelled
// out here, so that renaming a constant elsewhere cannot change stored data.
var dictionary = [...]string{
	0:  `{"scope":"hub","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
	1:  `{"scope":"hub","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}`,
	2:  `{"scope":"device","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
	3:  `{"scope":"device","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}`,
	4:  `{"scope":"module","type":"sas","issuer":"iothub","acceptingIpFilterRule":null}`,
	5:  `{"scope":"module","type":"x509","issuer":"iothub","acceptingIpFilterRule":null}`,
	6:  "Telemetry",
	7:  "twinChangeEvents",
	8:  "deviceLifecycleEvents",
	9:  "deviceJobLifecycleEvents",
	10: "digitalTwinChangeEvents",
	11: "deviceConnectionStateEvents",
	12: "application/json",
	13: "application/octet-stream",
	14: "text/plain",
	15: "utf-8",
	16: "UTF-8",
	17: "application/json;charset=utf-8",
	18: "application/cbor",
	19: "none",
	20: "positive",
	21: "negative",
	22: "full",
	23: "gzip",
}

// lookup returns the index of s in dictionary. Words differ in length or in one
// of their first bytes, so almost always one comparison decides.
func lookup(s string) (uint64, bool) {
	for i := range dictionary {
		if len(dictionary[i]) == len(s) && dictionary[i] == s {
			return uint64(i), true
		}
	}
	return 0, false
}
