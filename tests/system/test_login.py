"""Login on the wire: stages, continuation, what is refused and how. RFC 7143 §6.3, §11.12, §11.13."""

import time

from harness import pdu as p
from harness.case import IQN, Case
from harness.chap import Chap
from harness.initiator import FULL_FEATURE, OPERATIONAL, OPERATIONAL_KEYS, SECURITY, Closed, LoginFailed


class Login(Case):
    def setUp(self) -> None:
        super().setUp()
        self.itgtd, self.portal, self.second = self.serve(portals=2)

    def refused(self, wanted: int, keys, csg=SECURITY, nsg=OPERATIONAL, **fields) -> None:
        initiator = self.initiator(self.portal)
        with self.assertRaises(LoginFailed) as caught:
            initiator.login_step(keys, csg, nsg, **fields)
        self.assertEqual(hex(caught.exception.status), hex(wanted))
        self.assertTrue(initiator.closed_within(5), "a failed login leaves the connection open")

    def test_security_then_operational(self):
        initiator = self.session(self.portal)
        self.assertNotEqual(initiator.tsih, 0)
        self.assertEqual(initiator.keys["TargetPortalGroupTag"], "1")

    def test_straight_to_operational(self):
        self.session(self.portal, login={"security": False})

    def test_all_in_one_request_without_operational_stage(self):
        initiator = self.initiator(self.portal)
        response, _ = initiator.login_step({**initiator.first_keys(IQN), "AuthMethod": "None"}, SECURITY, FULL_FEATURE)
        self.assertEqual(response.flags & 0x83, 0x83)
        initiator.finish_login(response)
        self.assertEqual(initiator.nop(b"ping").data, b"ping")

    def test_keys_in_parts(self):
        initiator = self.initiator(self.portal)
        body = p.encode_keys({**initiator.first_keys(IQN), **OPERATIONAL_KEYS})
        for at in range(0, len(body), 50):
            last = at + 50 >= len(body)
            initiator.send(initiator.login_request({}, OPERATIONAL, FULL_FEATURE if last else None, more=not last,
                                                   data=body[at : at + 50]))
            response = initiator.receive()
            self.assertEqual((response.bhs[36], response.bhs[37]), (0, 0))
            if not last:
                self.assertEqual(response.data, b"", "an answer before the request is complete")
        self.assertEqual(response.flags & 0x83, 0x83)

    def test_results_follow_the_rules_of_each_key(self):
        initiator = self.session(self.portal, login=dict(
            MaxBurstLength="16384", FirstBurstLength="4096", InitialR2T="Yes", ImmediateData="No",
            MaxOutstandingR2T="3", MaxConnections="8", ErrorRecoveryLevel="2", DefaultTime2Wait="7"))
        keys = initiator.keys
        self.assertEqual(keys["MaxBurstLength"], "16384")
        self.assertEqual(keys["FirstBurstLength"], "4096")
        self.assertEqual((keys["InitialR2T"], keys["ImmediateData"]), ("Yes", "No"))
        self.assertEqual((keys["MaxConnections"], keys["ErrorRecoveryLevel"]), ("1", "0"))
        self.assertEqual(keys["DefaultTime2Wait"], "7")
        self.assertLessEqual(int(keys["MaxOutstandingR2T"]), 3)

    def test_unknown_keys_are_not_understood(self):
        session = self.session(self.portal, login={"X-org.example.key": "1", "Bogus": "2"})
        self.assertEqual((session.keys["X-org.example.key"], session.keys["Bogus"]), ("NotUnderstood", "NotUnderstood"))

    def test_values_against_the_rules(self):
        for key, value in (("MaxBurstLength", "0"), ("HeaderDigest", "MD5"), ("ImmediateData", "Maybe"),
                           ("ErrorRecoveryLevel", "3"), ("MaxRecvDataSegmentLength", "99999999999")):
            with self.subTest(key):
                initiator = self.initiator(self.portal)
                try:
                    initiator.login(IQN, **{key: value})
                    self.assertIn(initiator.keys.get(key), ("Reject", None), f"{key}={value} was taken")
                except (LoginFailed, Closed):
                    pass
        self.session(self.portal)

    def test_no_such_target(self):
        self.refused(0x0203, {"InitiatorName": "iqn.1993-08.org.debian:01:a", "SessionType": "Normal",
                              "TargetName": "iqn.2017-01.com.linbit:none", "AuthMethod": "None"})

    def test_no_initiator_name(self):
        self.refused(0x0207, {"SessionType": "Normal", "TargetName": IQN, "AuthMethod": "None"})

    def test_no_target_name(self):
        self.refused(0x0207, {"InitiatorName": "iqn.1993-08.org.debian:01:a", "SessionType": "Normal"})

    def test_unknown_session_type(self):
        self.refused(0x0209, {"InitiatorName": "iqn.1993-08.org.debian:01:a", "SessionType": "Other", "TargetName": IQN})

    def test_version(self):
        keys = {"InitiatorName": "iqn.1993-08.org.debian:01:a", "SessionType": "Normal", "TargetName": IQN}
        self.refused(0x0205, keys, u8_2=5, u8_3=5)

    def test_no_such_session(self):
        keys = {"InitiatorName": "iqn.1993-08.org.debian:01:a", "SessionType": "Normal", "TargetName": IQN}
        self.refused(0x020A, keys, u16_14=0x7777)

    def test_stages_that_do_not_exist(self):
        keys = {"InitiatorName": "iqn.1993-08.org.debian:01:a", "SessionType": "Normal", "TargetName": IQN}
        for csg, nsg in ((2, 3), (SECURITY, 2), (OPERATIONAL, OPERATIONAL), (OPERATIONAL, SECURITY), (3, 3)):
            with self.subTest(csg=csg, nsg=nsg):
                initiator = self.initiator(self.portal)
                with self.assertRaises((LoginFailed, Closed)):
                    initiator.login_step(keys, csg, nsg)
                self.assertTrue(initiator.closed_within(5))

    def test_a_command_before_login_ends_the_connection(self):
        initiator = self.initiator(self.portal)
        initiator.send(initiator.command_pdu(bytes(6)))
        self.assertTrue(initiator.closed_within(5))
        for pdu in initiator.other:
            self.assertIn(pdu.opcode, (p.LOGIN_RESPONSE, p.REJECT))
        self.session(self.portal)

    def test_tsih_of_sessions_differ(self):
        found = {self.session(self.portal, isid=bytes([0x80, 0, 0, 0, 0, n])).tsih for n in range(4)}
        self.assertEqual(len(found), 4)


class Reinstatement(Case):
    """RFC 7143 §6.3.5: the same initiator port logs in again."""

    def test_the_old_session_ends(self):
        _, first, second = self.serve(portals=2, workers=2)
        for number, where in enumerate([first, second, first, second]):
            with self.subTest(number):
                old = self.session(first)
                self.assertEqual(old.nop(b"a").data, b"a")
                new = self.session(where)
                self.assertTrue(old.closed_within(5), "the old session stays open")
                self.assertEqual(new.nop(b"b").data, b"b")
                new.close()

    def test_another_isid_is_another_session(self):
        _, where = self.serve()
        one = self.session(where, isid=b"\x80\0\0\0\0\x01")
        self.session(where, isid=b"\x80\0\0\0\0\x02")
        self.assertEqual(one.nop(b"a").data, b"a")

    def test_a_failed_login_ends_nothing(self):
        secret = self.folder.file("secret", "a-secret-of-16-b")
        _, where = self.serve(chap=f'user = "u"\nsecret_file = "{secret}"')
        victim = self.session(where, login={"chap": Chap("u", "a-secret-of-16-b")})
        with self.assertRaises((LoginFailed, Closed)):
            self.initiator(where).login(IQN, chap=Chap("u", "not-the-secret-0"))
        self.assertEqual(victim.nop(b"a").data, b"a")


class Limits(Case):
    """What a peer may cost before it has logged in."""

    seconds_max = 120

    def test_time_to_log_in(self):
        _, where = self.serve()
        started = time.monotonic()
        silent = self.initiator(where)
        slow = self.initiator(where)
        slow_request = slow.login_request(slow.first_keys(IQN), SECURITY, OPERATIONAL).encode()
        ended: dict[str, float] = {}
        at = 0
        while len(ended) < 2 and time.monotonic() - started < 45:
            if "slow" not in ended and at < 60:  # a byte at a time, never a whole request
                try:
                    slow.send_raw(slow_request[at : at + 1])
                    at += 1
                except Closed:
                    ended["slow"] = time.monotonic() - started
            for name, initiator in (("silent", silent), ("slow", slow)):
                if name not in ended and initiator.closed_within(0.3):
                    ended[name] = time.monotonic() - started
        self.assertEqual(sorted(ended), ["silent", "slow"], "a connection without login stays open")
        self.assertLess(max(ended.values()), 32, "longer than any limit that targets have")
        self.session(where)

    def test_many_idle_connections_do_not_keep_others_out(self):
        itgtd, where = self.serve()
        before = itgtd.descriptors()
        idle = [self.initiator(where) for _ in range(300)]
        self.session(where)
        for initiator in idle:
            initiator.close()
        self.eventually(lambda: itgtd.descriptors() <= before + 1, 40, "descriptors are given back")

    def test_text_without_end(self):
        """hardening: 16 MB of C-bit PDUs were accepted elsewhere."""
        _, where = self.serve()
        initiator = self.initiator(where)
        sent = 0
        with self.assertRaises((LoginFailed, Closed)):
            for _ in range(2000):
                initiator.send(initiator.login_request({}, SECURITY, None, more=True, data=b"k" * 8000))
                sent += 8000
                response = initiator.receive()
                status = response.bhs[36] << 8 | response.bhs[37]
                if status:
                    raise LoginFailed(status)
        self.assertLess(sent, 1 << 20)
        self.session(where)
