"""python -m captioner"""

from captioner.cli import main

main()
