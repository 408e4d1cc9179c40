"""CHAP: all algorithms, one-way and mutual, and what must be refused. RFC 7143 §9.2.1, §12.1.3."""

from harness import chap
from harness.case import IQN, Case, portal, target
from harness.chap import Chap
from harness.initiator import OPERATIONAL, SECURITY, Closed, LoginFailed

SECRET, MUTUAL = "sesame-open-the-door", "and-who-are-you-then"


class ChapLogin(Case):
    def setUp(self) -> None:
        super().setUp()
        secret, mutual = self.folder.file("u.secret", SECRET + "\n"), self.folder.file("t.secret", MUTUAL)
        one_way = f'user = "u"\nsecret_file = "{secret}"'
        self.one, self.two, self.hex = portal(), portal(), portal()
        config = target([self.one], [], chap=one_way)
        config += target([self.two], [], name=IQN + "-mutual",
                         chap=f'{one_way}\nmutual_user = "t"\nmutual_secret_file = "{mutual}"')
        config += target([self.hex], [], name=IQN + "-hex", chap=f'user = "0x41"\nsecret_file = "{secret}"')
        self.itgtd = self.daemon(config, [self.one, self.two, self.hex])

    def login(self, credentials: Chap | None, where=None, name=IQN):
        return self.initiator(where or self.one).login(name, chap=credentials)

    def refused(self, credentials: Chap | None, where=None, name=IQN, status: int = 0x0201):
        initiator = self.initiator(where or self.one)
        with self.assertRaises(LoginFailed) as caught:
            initiator.login(name, chap=credentials)
        self.assertEqual(hex(caught.exception.status), hex(status))
        self.assertTrue(initiator.closed_within(5), "the connection stays open")

    def test_each_algorithm(self):
        for number in (chap.MD5, chap.SHA1, chap.SHA256, chap.SHA3_256):
            with self.subTest(number):
                session = self.login(Chap("u", SECRET, algorithms=str(number)))
                self.assertEqual(session.keys["CHAP_A"], str(number))
                mutual = Chap("u", SECRET, "t", MUTUAL, algorithms=str(number))
                self.login(mutual, self.two, IQN + "-mutual")

    def test_base64(self):
        self.login(Chap("u", SECRET, encode=chap.to_base64))

    def test_a_name_that_looks_like_a_number(self):
        self.login(Chap("0x41", SECRET), self.hex, IQN + "-hex")

    def test_the_first_algorithm_that_is_known_is_taken(self):
        self.assertIn(self.login(Chap("u", SECRET, algorithms="200,7,5")).keys["CHAP_A"], ("7", "5"))

    def test_no_algorithm_in_common(self):
        initiator = self.initiator(self.one)
        with self.assertRaises((LoginFailed, Closed)):
            initiator.login(IQN, chap=Chap("u", SECRET, algorithms="200"))
        self.login(Chap("u", SECRET))

    def test_wrong_secret_and_wrong_user(self):
        self.refused(Chap("u", "not-the-secret-at-all"))
        self.refused(Chap("nobody", SECRET))

    def test_without_authentication(self):
        initiator = self.initiator(self.one)
        with self.assertRaises(LoginFailed) as caught:
            initiator.login(IQN)
        self.assertEqual(hex(caught.exception.status), "0x201")

    def test_security_stage_left_out(self):
        initiator = self.initiator(self.one)
        with self.assertRaises(LoginFailed):
            initiator.login(IQN, security=False)
        initiator = self.initiator(self.one)
        with self.assertRaises(LoginFailed):
            initiator.login_step(initiator.first_keys(IQN), SECURITY, 3)

    def test_security_stage_left_before_its_end(self):
        initiator = self.initiator(self.one)
        initiator.login_step({**initiator.first_keys(IQN), "AuthMethod": "CHAP"}, SECURITY, None)
        with self.assertRaises((LoginFailed, Closed)):
            response, _ = initiator.login_step({"CHAP_A": "5"}, SECURITY, OPERATIONAL)
            self.assertFalse(response.flags & 0x80, "the stage ended without a response")
            initiator.login_step({}, OPERATIONAL, 3)

    def test_reflected_challenge(self):
        self.refused(Chap("u", SECRET, "t", MUTUAL, reflect=True), self.two, IQN + "-mutual")

    def test_reflected_challenge_of_another_connection(self):
        """The response that a second connection's mutual answer would give is not ours to use."""
        first, second = self.initiator(self.two), self.initiator(self.two)
        name = IQN + "-mutual"
        for initiator in (first, second):
            initiator.login_step({**initiator.first_keys(name), "AuthMethod": "CHAP"}, SECURITY, None)
            initiator.login_step({"CHAP_A": "5"}, SECURITY, None)
        with self.assertRaises((LoginFailed, Closed)):
            second.login_step({"CHAP_N": "u", "CHAP_R": chap.to_hex(bytes(16)), "CHAP_I": first.keys["CHAP_I"],
                               "CHAP_C": first.keys["CHAP_C"]}, SECURITY, OPERATIONAL)

    def test_challenges_do_not_repeat(self):
        found = set()
        for _ in range(50):
            initiator = self.initiator(self.one)
            initiator.login_step({**initiator.first_keys(IQN), "AuthMethod": "CHAP"}, SECURITY, None)
            _, said = initiator.login_step({"CHAP_A": "7"}, SECURITY, None)
            self.assertGreaterEqual(len(chap.decode(said["CHAP_C"])), 16)
            found.add(said["CHAP_C"])
            initiator.close()
        self.assertEqual(len(found), 50)

    def test_malformed_answers(self):
        """Lengths that overran other targets' buffers, and what is neither hex nor base64."""
        answers = ["", "0x", "0b", "0xzz", "zz", "0x" + "41" * 15, "0x" + "41" * 17, "0x4", "0b*", "0x" + "a" * 2050,
                   *("0x" + "a" * n for n in (33, 34, 35, 1000)), *("0b" + "A" * n for n in (127, 128, 129, 1000, 7000))]
        for answer in answers:
            with self.subTest(answer[:20], length=len(answer)):
                initiator = self.initiator(self.one)
                initiator.login_step({**initiator.first_keys(IQN), "AuthMethod": "CHAP"}, SECURITY, None)
                initiator.login_step({"CHAP_A": "5"}, SECURITY, None)
                with self.assertRaises((LoginFailed, Closed)):
                    initiator.login_step({"CHAP_N": "u", "CHAP_R": answer}, SECURITY, OPERATIONAL)
        self.login(Chap("u", SECRET))

    def test_algorithm_lists_that_are_wrong(self):
        for value in ("", "9", ",", "5,,5", "a", ",".join(["5"] * 2000)):
            with self.subTest(value[:20]):
                initiator = self.initiator(self.one)
                try:
                    initiator.login(IQN, chap=Chap("u", SECRET, algorithms=value))
                except (LoginFailed, Closed, AssertionError, KeyError, ValueError):
                    continue
                self.assertIn("5", value, "logged in without an algorithm")
        self.login(Chap("u", SECRET))

    def test_secrets_are_not_in_the_log(self):
        self.login(Chap("u", SECRET))
        self.refused(Chap("u", "not-the-secret-at-all"))
        self.assertNotIn(SECRET, self.itgtd.log)
        self.assertNotIn(MUTUAL, self.itgtd.log)

    def test_discovery_needs_no_secret_but_shows_only_names(self):
        session = self.initiator(self.one).login(None)
        self.assertIn(("TargetName", IQN), session.text({"SendTargets": "All"}))
