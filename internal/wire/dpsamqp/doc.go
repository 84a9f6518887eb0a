// Package dpsamqp is what the provisioning service makes of AMQP 1.0: the address
// of a registration, which devices send to and receive from, their requests and
// the answers, the conditions of refusals, and the SASL mechanism of devices with
// a TPM. The JSON inside is that of package dpsjson.
//
// What is accepted is the union of what the SDKs for C, C#, Java and Node send;
// what is written suits all of them.
package dpsamqp
